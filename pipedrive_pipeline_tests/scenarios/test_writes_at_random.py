"""Writes, edits at the source, faults and kills in any order: everything ends equal, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from pipedrive_pipeline.connectors.writing import Verb
from pipedrive_pipeline.errors import Transient
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.sync.writes.comparison import version
from pipedrive_pipeline.sync.writes.errors import RecordMoved, WriteError
from pipedrive_pipeline.sync.writes.mart_rows import row_of
from pipedrive_pipeline.sync.writes.steps import ACCEPTED, WriteOutcome
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.reused_connection import ReusingWarehouse
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.scenarios.world import ACME, World, world_at
from pipedrive_pipeline_tests.scenarios.writing import (
    SCOPE,
    Caller,
    allow_writes,
    register_without_waits,
)

SOURCE = {"customers": ("organizations", "name"), "deals": ("deals", "title")}
FAULTS = (
    "lost_answer", "reset_mid_body", "truncated_json", "http_500", "http_503", "html_200",
    "burst_429_retry_after",
)  # fmt: skip
NAMES = ("neu", "anders", "dort")  # of records that a write or an edit here has named
OPERATIONS = (
    "create", "update", "delete", "win", "lose", "reopen", "edit", "fault", "kill",
)  # fmt: skip
OPERATIONS_OF_A_STEP = 1.5  # mostly a write, and perhaps what troubles it
TRIES = 12  # of one write, with the same key
STEPS_OF_A_MACHINE = 10
TRANSACTIONS = 100  # of one write, about: a kill may come before each
# The call, or else a read after it, fails or loses its answer; or the process ends before a
# transaction.
Trouble = tuple[str, bool] | int | None
TROUBLES = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(FAULTS), st.sampled_from((True, True, False))),
    st.integers(0, TRANSACTIONS),
)
PLACES = st.integers(0, 999)


class Killed(BaseException):
    """The process ended here: no handler of ours runs, Postgres rolls back and frees its locks."""


@dataclass
class Countdown:
    """How many transactions may still begin."""

    left: int | None = None

    def tick(self) -> None:
        """Ends the process when none may."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Killed


@dataclass(frozen=True)
class MortalWarehouse(ReusingWarehouse):
    """A warehouse whose process is killed before one of its transactions."""

    countdown: Countdown = field(default_factory=Countdown, kw_only=True)

    @contextmanager
    def transaction(
        self, tenant: Tenant | None = None, search_path: tuple[str, ...] = ()
    ) -> Iterator[psycopg.Connection]:
        """See `Warehouse.transaction`."""
        self.countdown.tick()
        with super().transaction(tenant, search_path) as connection:
            yield connection


@dataclass(frozen=True)
class WritingWorld:
    """A synced tenant, its source, and what every record must be."""

    world: World
    sandbox: Sandbox
    countdown: Countdown
    records: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # mart, remote id
    done: Counter[str] = field(default_factory=Counter)  # operations, by name


@pytest.fixture
def written(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WritingWorld]:
    register_without_waits(monkeypatch)
    with serve(seeded(5, 5, deals=5), has_limits=False) as sandbox:
        world = world_at(database_url, tmp_path)
        world.connect(ACME, sandbox)
        databases.read_everything(world.warehouse, ACME)
        allow_writes(world)
        world.sync(sync_type="full")
        countdown = Countdown()
        mortal = MortalWarehouse(world.warehouse.url, [], countdown=countdown)
        yield WritingWorld(replace(world, warehouse=mortal), sandbox, countdown)
        for connection, _since in mortal.idle:
            connection.close()


class Machine(RuleBasedStateMachine):
    """Each write is repeated with its key until its outcome is known.

    A record is chosen by a number, and made where there is none: Hypothesis wants draws that do not
    depend on what former machines have left.
    """

    written: ClassVar[WritingWorld]

    def __init__(self) -> None:
        super().__init__()
        self.world = self.written.world
        self.records = self.written.records  # also those of the machines before
        self.caller = Caller(self.world)
        self.account = self.written.sandbox.account

    def do(self, mart: str, verb: Verb, trouble: Trouble, **more: Any) -> WriteOutcome | WriteError:
        """The definite outcome of one write, in which a request fails or the process is killed."""
        self.written.done[verb] += 1
        if isinstance(trouble, int):
            self.written.done["kill"] += 1
            self.written.countdown.left = trouble
        elif trouble is not None:
            self.written.done["fault"] += 1
            kind, is_of_call = trouble
            reads_before = 0 if verb == "create" else 1
            self.written.sandbox.faults.add(kind, after=reads_before if is_of_call else 2)
        key = f"write {self.written.sandbox.requests.count} {len(self.records)}"
        for _ in range(TRIES):
            try:
                done = self.caller.write(mart, verb, key=key, **more)
            except WriteError as error:
                return error
            except (Killed, Transient):
                continue
            if done.status != ACCEPTED:
                return done
        raise AssertionError(f"{mart} {verb} has no outcome after {TRIES} tries")

    def chosen(self, place: int, *marts: str) -> tuple[str, str]:
        """A record that was made here and is there; a new one if there is none."""
        keys = sorted(key for key in self.records if key[0] in marts)
        return keys[place % len(keys)] if keys else self.made(marts[0], None)

    def made(self, mart: str, trouble: Trouble) -> tuple[str, str]:
        """A new record."""
        name = f"neu {self.written.sandbox.requests.count}"
        done = self.do(mart, "create", trouble, values={"name": name})
        assert isinstance(done, WriteOutcome), done
        assert done.status == 201
        assert done.entry.remote_id is not None
        self.records[mart, done.entry.remote_id] = {"name": name}
        return mart, done.entry.remote_id

    @rule(mart=st.sampled_from(sorted(SOURCE)), trouble=TROUBLES)
    def create(self, mart: str, trouble: Trouble) -> None:
        """A record is made."""
        self.made(mart, trouble)

    @rule(place=PLACES, is_checked=st.booleans(), is_moved=st.booleans(), trouble=TROUBLES)
    def patch(self, place: int, *, is_checked: bool, is_moved: bool, trouble: Trouble) -> None:
        """A record is renamed, perhaps with the version that was read, perhaps after an edit."""
        mart, remote_id = self.chosen(place, *SOURCE)
        name = f"anders {self.written.sandbox.requests.count}"
        more: dict[str, Any] = {}
        if is_checked:
            more["if_match"] = version(mart, self.row(mart, remote_id))
            if is_moved:
                self.edit(mart, remote_id)
        done = self.do(mart, "update", trouble, remote_id=remote_id, values={"name": name}, **more)
        if is_checked and is_moved:
            assert isinstance(done, RecordMoved), done
            return
        if isinstance(done, RecordMoved):  # an edit at the source that no sync has read
            assert is_checked
            return
        assert isinstance(done, WriteOutcome), done
        self.records[mart, remote_id]["name"] = name

    @rule(place=PLACES, trouble=TROUBLES)
    def delete(self, place: int, trouble: Trouble) -> None:
        """A record is deleted."""
        mart, remote_id = self.chosen(place, *SOURCE)
        done = self.do(mart, "delete", trouble, remote_id=remote_id)
        assert isinstance(done, WriteOutcome), done
        del self.records[mart, remote_id]

    @rule(place=PLACES, verb=st.sampled_from(("win", "lose", "reopen")), trouble=TROUBLES)
    def close(self, place: int, verb: Verb, trouble: Trouble) -> None:
        """A deal is won, lost or opened again."""
        mart, remote_id = self.chosen(place, "deals")
        done = self.do(mart, verb, trouble, remote_id=remote_id)
        assert isinstance(done, WriteOutcome), done
        status = {"win": "won", "lose": "lost", "reopen": "open"}[verb]
        assert done.row is not None
        assert done.row["status"] == status
        self.records[mart, remote_id]["status"] = status

    @rule(place=PLACES)
    def edit_at_the_source(self, place: int) -> None:
        """Somebody renames a record in the CRM."""
        self.edit(*self.chosen(place, *SOURCE))

    def edit(self, mart: str, remote_id: str) -> None:
        """Renames a record at the source."""
        self.written.done["edit"] += 1
        entity, title = SOURCE[mart]
        name = f"dort {len(self.account.history)}"
        self.account.edit(entity, int(remote_id), **{title: name})
        self.records[mart, remote_id]["name"] = name

    def row(self, mart: str, remote_id: str) -> dict[str, Any]:
        """The record's row in the tables."""
        with Warehouse(self.world.warehouse.url).transaction(tenant=ACME) as connection:
            row = row_of(connection, SCOPE, mart, remote_id)
        assert row is not None
        return row

    def teardown(self) -> None:
        """Nothing is left for the next machine."""
        self.written.sandbox.faults.clear()
        self.written.countdown.left = None


def assert_all_is_equal(written: WritingWorld) -> None:
    """Source, tables and what the answers said; no record twice."""
    world, account = written.world, written.sandbox.account
    world.sync()
    for mart, (entity, title) in SOURCE.items():
        table = account.records[entity]
        records = (table.get(row_id) for row_id in range(1, table.last_id + 1))
        live = {str(row["id"]): row[title] for row in records if row and not row["is_deleted"]}
        ours = {
            key: values["name"] for (name, key), values in written.records.items() if name == mart
        }
        made = {
            key: value
            for key, value in live.items()
            if str(value).startswith(("neu", "anders", "dort"))
        }
        rows = {
            row["remote_id"]: row["name"]
            for row in world.rows("crm", mart)
            if row["remote_id"] in live and row["deleted_at"] is None
        }
        assert made == ours
        assert {key: rows.get(key) for key in ours} == ours
    unsettled = [row for row in world.rows("integration", "outbox") if row["settled_at"] is None]
    assert [row["state"] for row in unsettled] == []


def run(written: WritingWorld, operations: int, *, is_same_each_time: bool) -> None:
    """At least so many operations; then all must be equal."""
    run_state_machine_as_test(
        type("BoundMachine", (Machine,), {"written": written}),
        settings=settings(
            max_examples=ceil(operations / OPERATIONS_OF_A_STEP / STEPS_OF_A_MACHINE),
            stateful_step_count=STEPS_OF_A_MACHINE,
            derandomize=is_same_each_time,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert_all_is_equal(written)
    assert written.done.total() >= operations, written.done
    assert len(written.done) == len(OPERATIONS), written.done
    lost = [each for each in written.sandbox.requests if each.fault and each.method != "GET"]
    assert len(lost) > operations / 20, "calls that failed, or whose answers were lost"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "operations",
    [200, pytest.param(2_000, marks=[pytest.mark.long, pytest.mark.timeout(14_400)])],
)
def test_operations_in_any_order_end_with_source_tables_and_answers_equal(
    written: WritingWorld, operations: int
) -> None:
    """The same ones in each run of the suite, others in each long one."""
    run(written, operations, is_same_each_time=operations == 200)
