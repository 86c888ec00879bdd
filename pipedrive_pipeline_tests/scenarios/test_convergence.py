"""Anything may happen; then faults stop, and one clean sync and one sweep make the tables right.

A state machine edits a small CRM, spoils its answers, moves its clock, writes to `crm` as an app
does, and runs syncs that fail, are interrupted, killed, meet each other, or sleep while their
tenant moves. A run may fail on the way, if its error has a name of ours. At the end one clean
incremental run must bring every edit that a window can show (`visibility.py`), and one sweep must
make everything equal to the oracle. Every point at which a process may be killed is in
`test_kills.py`.

Sequences come from seeds. The ones of every run are the same each time; those of the long run are
new, and `CONVERGENCE_SEED=N` runs N's alone.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from pipedrive_pipeline.errors import Busy, PipelineError
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.sandbox import CrmAccount, seeded, serve
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline.sync.runs.lock import is_locked
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.scenarios import worker
from pipedrive_pipeline_tests.scenarios.app_acts import ACTS
from pipedrive_pipeline_tests.scenarios.edits import EDITS, SALES_EDITS, WORK_EDITS
from pipedrive_pipeline_tests.scenarios.live_tenant import LiveTenant, live_by_webhook
from pipedrive_pipeline_tests.scenarios.oracle import (
    assert_all_equals_source,
    assert_edits_arrived,
    assert_nothing_became_null,
    mart,
    read_by,
    source_rows,
    unlisted,
)
from pipedrive_pipeline_tests.scenarios.points import Point
from pipedrive_pipeline_tests.scenarios.visibility import (
    LYING_DATES,
    UNNOTICED,
    changed_rights,
    children_spoiled,
    fired,
    unseen,
)
from pipedrive_pipeline_tests.scenarios.world import World, world_at

ROWS, OTHER_ROWS = (24, 48), (10, 20)  # organizations and persons of a company, and of another
PAGE_ROWS = 12  # so that a walk has a middle
CHUNK_ROWS = 35
SEEDS = range(6)  # apart, so that they run beside each other
SEEDS_LONG, SHARES_LONG = 10, 5
SEQUENCES = 10  # of each seed; 2 to 3 s of processor time each, most of it in dlt
STEPS, STEPS_LONG = 3, 6
RENAMES_MAX = 80  # of files in one load
OVERLAP_SECONDS = 300
DAY_SECONDS = 86_400
FAULTS = (
    "burst_429", "burst_429_retry_after", "daily_429", "cloudflare_403", "scope_403",
    "unauthorized_401", "payment_402", "gone_410", "moved_301", "http_500", "http_502", "http_503",
    "html_503", "html_200", "empty_200", "bad_cursor", "expired_cursor", "success_false",
    "no_additional_data", "no_cursor_key", "early_null_cursor", "repeated_cursor", "empty_page",
    "empty_account", "truncated_json", "reset_mid_body", "lost_answer",
    "daily_429_for_a_month", "half_page", "null_record", "keyless_record", "out_of_place",
    "budget_negative", "budget_huge", "budget_text",
)  # fmt: skip
FAULTS_OF_EVENTS = (
    "webhook_lost", "webhook_delayed", "webhook_duplicated", "webhook_reordered",
)  # fmt: skip
DATES = ("date_ahead", "date_far_ahead", "date_behind", "no_date")
PATHS = ("", "/organizations", "/persons", "Fields", "/users")
PATHS_OF_OTHERS = ("", "/deals", "/archived", "/products", "/notes", "/leads", "/activities")
MARTS = {"organizations": "customers", "persons": "contacts"}
NUMBERS = st.integers(0, 400)
SYNC_TYPES = st.sampled_from(["incremental", "incremental", "full", "sweep"])
MOVES = st.sampled_from(["another company", "erased and added again", "both"])


@dataclass(frozen=True)
class Reading:
    """Entities that a sequence's tenant reads, and what people edit in them."""

    entities: tuple[str, ...]
    edits: Mapping[str, Callable[[CrmAccount, int], None]]
    paths: tuple[str, ...]


# About as many lists each as contacts alone have, so that a sequence takes no longer.
READINGS = {
    "contacts": Reading(databases.ENTITIES_READ, EDITS, PATHS),
    "sales": Reading(
        (
            "users", "deal_fields", "pipelines", "stages", "products", "product_variations",
            "deals", "deal_products",
        ),
        SALES_EDITS,
        PATHS_OF_OTHERS,
    ),
    "work": Reading(
        (
            "users", "activity_fields", "activity_types", "activities", "notes", "lead_labels",
            "lead_sources", "leads",
        ),
        WORK_EDITS,
        PATHS_OF_OTHERS,
    ),
}  # fmt: skip


class Interrupted(Exception):
    """The run ends here, as if its process had been stopped."""


@dataclass
class Stage:
    """The warehouse that all sequences share; each has a tenant and a company of its own."""

    world: World
    numbers: Iterator[int] = field(default_factory=count)
    runs: int = 0
    failed_runs: int = 0
    compared_after_increments: int = 0


class Convergence(RuleBasedStateMachine):
    """One sequence."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        number = next(self.stage.numbers)
        self.world, self.tenant = self.stage.world, Tenant(f"tenant_{number}")
        self.account = seeded(*ROWS, organization_fields=6, person_fields=6)
        self.account.company_id += 100 * number
        self.open = ExitStack()
        self.sandbox = self.open.enter_context(serve(self.account, page_rows=PAGE_ROWS))
        self.world.connect(self.tenant, self.sandbox)
        self.live = self.tell()
        self.reading = READINGS["contacts"]
        self.skew = timedelta()
        self.is_crm_untouched = True

    @initialize(minutes=st.sampled_from([0, 10, -10]), reading=st.sampled_from(sorted(READINGS)))
    def begin(self, minutes: int, reading: str) -> None:
        """Our clock and the server's differ, as clocks do; tenants read what they choose."""
        self.skew = timedelta(minutes=minutes)
        self.reading = READINGS[reading]
        self.choose_entities()

    def tell(self) -> LiveTenant:
        """A webhook of the company that the tenant is connected to."""
        return self.open.enter_context(live_by_webhook(self.world, self.sandbox, self.tenant))

    def choose_entities(self) -> None:
        """The tenant's settings, which are gone where it was removed."""
        databases.read_only(self.world.warehouse, self.tenant, self.reading.entities)

    @rule(choice=NUMBERS, number=NUMBERS)
    def people_edit(self, choice: int, number: int) -> None:
        """Somebody edits something between two runs."""
        self.edit(choice)(self.account, number)

    @rule(choice=NUMBERS, number=NUMBERS, call=st.integers(1, 8))
    def people_will_edit_during_a_walk(self, choice: int, number: int, call: int) -> None:
        """Somebody edits something just before a call of a coming run is answered."""
        act = self.edit(choice)
        self.sandbox.faults.before(call, lambda: act(self.account, number))

    def edit(self, choice: int) -> Callable[[CrmAccount, int], None]:
        """An edit of what the tenant reads."""
        names = sorted(self.reading.edits)
        return self.reading.edits[names[choice % len(names)]]

    @rule(
        kinds=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=3),
        choice=NUMBERS,
        after=st.integers(0, 4),
        times=st.sampled_from([1, 1, 1, 4]),
    )
    def the_source_will_fail(self, kinds: list[str], choice: int, after: int, times: int) -> None:
        """Some of the coming answers are spoiled, in a row."""
        path = self.path(choice)
        for offset, kind in enumerate(kinds):
            self.sandbox.faults.add(kind, after=after + offset, times=times, path=path)

    @rule(kinds=st.lists(st.sampled_from(FAULTS_OF_EVENTS), min_size=1, max_size=3))
    def events_will_fail(self, kinds: list[str]) -> None:
        """Some of the coming events are lost, late, doubled or overtaken."""
        for kind in kinds:
            self.sandbox.faults.add(kind, times=3)

    @rule(has_all_arrived=st.booleans())
    def signals_are_served(self, *, has_all_arrived: bool) -> None:
        """The records of all events so far are read again."""
        if has_all_arrived:
            self.live.arrived()
        self.attempt(self.live.serve_once)

    @rule(kind=st.sampled_from(DATES), choice=NUMBERS, times=st.sampled_from([1, 99]))
    def dates_will_lie(self, kind: str, choice: int, times: int) -> None:
        """The `Date` header of some coming answers is wrong or missing."""
        self.sandbox.faults.add(kind, times=times, path=self.path(choice))

    def path(self, choice: int) -> str:
        """A part of the addresses that the tenant's runs call."""
        return self.reading.paths[choice % len(self.reading.paths)]

    @rule(names=st.lists(st.sampled_from(sorted(ACTS)), min_size=1, max_size=2), number=NUMBERS)
    def an_app_writes_to_crm(self, names: list[str], number: int) -> None:
        """It deletes, changes or inserts rows, or restores a copy of an earlier day."""
        self.is_crm_untouched = False
        with self.world.warehouse.connect(autocommit=True) as connection:
            for name in names:
                ACTS[name](connection, self.tenant, self.account, number)

    @rule(sees=st.sampled_from(["all", "all", "shared", "own", "none"]), hidden=st.booleans())
    def rights_change(self, sees: Any, *, hidden: bool) -> None:
        """The connected user sees less, or more again."""
        taken = [("organizations", row) for row in range(1, 8)] if hidden else []
        self.account.set_rights(self.account.admin_id, sees=sees, hidden=taken)

    @rule(seconds=st.sampled_from([1, 120, 299, 3_600, DAY_SECONDS + 1, 31 * DAY_SECONDS]))
    def time_passes(self, seconds: int) -> None:
        """Up to a month."""
        self.sandbox.clock.advance(seconds)

    @rule(sync_type=SYNC_TYPES, confirmed=st.booleans(), small=st.booleans())
    def a_run(self, sync_type: SyncType, *, confirmed: bool, small: bool) -> None:
        """A run that nobody disturbs."""
        self.attempt(lambda: self.sync(sync_type, is_confirmed=confirmed, is_chunked=small))

    @rule(sync_type=SYNC_TYPES, pages=st.integers(1, 9))
    def a_run_that_is_interrupted(self, sync_type: SyncType, pages: int) -> None:
        """It stops between two pages, before or after a load."""
        left = count(pages, -1)

        def stop(_read: EntityRead) -> None:
            if next(left) <= 1:
                raise Interrupted

        self.attempt(lambda: self.sync(sync_type, is_chunked=True, on_page=stop))

    @rule(sync_type=SYNC_TYPES)
    def a_run_that_ends_before_its_marts(self, sync_type: SyncType) -> None:
        """Raw is loaded, the marts know of it, and nobody has built them."""

        def read_only() -> None:
            with self.world.run(self.tenant, sync_type, now=self.now) as run:
                list(run.read())
                raise Interrupted

        self.attempt(read_only)

    @rule(sync_type=SYNC_TYPES)
    def a_run_that_another_meets(self, sync_type: SyncType) -> None:
        """The second is refused, and the first does not notice."""
        pages = count()

        def second(_read: EntityRead) -> None:
            if next(pages) == 0:
                with pytest.raises(Busy):
                    self.sync("incremental")

        self.attempt(lambda: self.sync(sync_type, on_page=second))

    @rule(sync_type=SYNC_TYPES, number=st.integers(1, RENAMES_MAX))
    def a_run_that_is_killed(self, sync_type: SyncType, number: int) -> None:
        """Amid the files that dlt passes on; some die before their first load, some live."""
        at = Point("rename", number)
        process = worker.start_sync(
            self.world, self.tenant, sync_type=sync_type, at=at, chunk_rows=CHUNK_ROWS
        )
        assert worker.ended(process) != worker.UNEXPECTED
        self.world.wait_for_the_dead(self.tenant)

    @rule(
        sync_type=SYNC_TYPES,
        number=st.integers(1, RENAMES_MAX),
        move=MOVES,
        is_near=st.booleans(),
        is_read=st.booleans(),
    )
    def a_run_that_sleeps_while_its_tenant_moves(
        self, sync_type: SyncType, number: int, move: str, *, is_near: bool, is_read: bool
    ) -> None:
        """It loses its lock and wakes up amid its load, before or after the next run."""
        home = self.world.settings.pipeline_home
        world = self.world if is_near else self.world.at_home(home / "another machine")
        at = Point("rename", number, "after", signal.SIGSTOP)
        process = worker.start_sync(
            world, self.tenant, sync_type=sync_type, at=at, chunk_rows=CHUNK_ROWS
        )
        if worker.is_stopped(process):
            self.world.cut_off(self.tenant)
            self.the_tenant_moves(move)
            if is_read:
                self.attempt(lambda: self.sync("full", is_confirmed=True))
            worker.wake(process)
        assert worker.ended(process) != worker.UNEXPECTED

    def the_tenant_moves(self, move: str) -> None:
        """To another company, or out and in again."""
        if move != "another company":
            self.world.erase(self.tenant)
        if move != "erased and added again":
            clock, company_id = self.account.clock, self.account.company_id
            self.account = seeded(
                *OTHER_ROWS, seed=8, organization_fields=6, person_fields=6, clock=clock
            )
            self.account.company_id = company_id + 1
            self.sandbox = self.open.enter_context(serve(self.account, page_rows=PAGE_ROWS))
        self.world.connect(self.tenant, self.sandbox, is_other_company=move == "another company")
        self.live = self.tell()
        self.choose_entities()

    def teardown(self) -> None:
        """Faults stop; one clean sync and one sweep make everything right."""
        with self.open:
            self.faults_stop()
            # Confirmed too: where nothing was ever read whole it reads everything, as a sweep does.
            self.sync("incremental", is_confirmed=True)
            self.assert_edits_arrived()
            self.sync("sweep", is_confirmed=True)
            self.assert_converged()

    def faults_stop(self) -> None:
        """Time goes on until nothing is late or spent, and a person connects again."""
        self.sandbox.faults.clear()
        if self.account.rights and self.account.rights[self.account.admin_id].sees == "none":
            self.account.set_rights(self.account.admin_id, sees="all")
        resume_at = [row["resume_at"] for row in self.world.history(self.tenant)]
        latest = max((at for at in resume_at if at), default=self.now())
        late = max(latest - self.now(), timedelta())
        self.sandbox.clock.advance(late.total_seconds() + OVERLAP_SECONDS)
        self.world.connect(self.tenant, self.sandbox)

    def assert_edits_arrived(self) -> None:
        """What must hold after a clean incremental run, unless answers hid it until a sweep."""
        faults = fired(self.sandbox.requests)
        # Our own clock is the last guard against lying dates; here it is ahead as well.
        is_unguarded = self.skew > timedelta() and faults & LYING_DATES
        is_spoiled = faults & UNNOTICED or children_spoiled(self.sandbox.requests)
        if is_spoiled or is_unguarded or changed_rights(self.account):
            return
        self.stage.compared_after_increments += 1
        assert_edits_arrived(
            self.world,
            self.sandbox,
            self.tenant,
            unseen=unseen(self.account),
            with_marts=self.is_crm_untouched,
        )

    def assert_converged(self) -> None:
        """Everything that must hold after a clean run."""
        world, sandbox, tenant = self.world, self.sandbox, self.tenant
        assert_all_equals_source(world, sandbox, tenant)
        assert_nothing_became_null(world, sandbox, tenant)
        for entity, spec in read_by(world, tenant).items():
            key = spec.key.name
            source = source_rows(sandbox, entity)
            there = {str(row[key]) for row in source}
            gone = unlisted(world, spec, source, tenant)
            assert {str(row[key]) for row in world.raw(tenant, entity)} - there == gone.keys()
            if entity not in MARTS:
                continue
            # Rows of a former company have no id of this one.
            deleted = [
                row
                for row in mart(world, MARTS[entity], tenant)
                if row["deleted_at"] is not None and row["pipedrive_id"] is not None
            ]
            assert {str(row["pipedrive_id"]): row["deletion_reason"] for row in deleted} == gone
        assert {row["status"] for row in world.history(tenant)} <= {
            "success",
            "partial",
            "failed",
            "paused",
        }
        assert not is_locked(world.warehouse, tenant)

    def attempt(self, run: Callable[[], object]) -> None:
        """A run that may fail, if its failure has a name."""
        self.stage.runs += 1
        try:
            run()
        except (PipelineError, Interrupted):
            self.stage.failed_runs += 1

    def sync(self, sync_type: SyncType, *, is_chunked: bool = False, **more: Any) -> Any:
        """One run at our time."""
        if is_chunked:
            more["chunk_rows"] = CHUNK_ROWS
        return self.world.sync(self.tenant, sync_type, now=self.now, **more)

    def now(self) -> datetime:
        """Our clock's time."""
        return self.sandbox.clock.now() + self.skew


def converge(database_url: str, home: Path, number: int, *, steps: int = STEPS) -> Stage:
    """Runs the sequences of one seed; a failing one is printed, step by step."""
    stage = Convergence.stage = Stage(world_at(database_url, home))
    sys.stdout.write(f"convergence: CONVERGENCE_SEED={number} runs these again\n")
    run_state_machine_as_test(
        seed(number)(Convergence),
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=steps,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate),  # to shrink one takes longer than to read it
        ),
    )
    return stage


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("number", SEEDS)
def test_ten_sequences_of_edits_faults_and_broken_syncs_end_equal_to_the_source(
    number: int, database_url: str, tmp_path: Path
) -> None:
    stage = converge(database_url, tmp_path, number)

    assert stage.runs >= SEQUENCES / 2
    assert stage.compared_after_increments >= SEQUENCES / 2


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("share", range(SHARES_LONG))
def test_a_hundred_other_sequences_end_equal_to_the_source(
    share: int, database_template: str, tmp_path: Path
) -> None:
    """Five hundred in all, or those of one seed again."""
    chosen = os.environ.get("CONVERGENCE_SEED")
    if chosen and share:
        pytest.skip("the first one runs the chosen seed")
    first = random.SystemRandom().randrange(10**6) * SEEDS_LONG
    for number in [int(chosen)] if chosen else range(first, first + SEEDS_LONG):
        with databases.copy_of(database_template) as url:
            converge(url, tmp_path / str(number), number, steps=STEPS_LONG)
