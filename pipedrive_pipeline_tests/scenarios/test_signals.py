"""Records that change during a long walk are in the marts before the walk ends."""

from __future__ import annotations

import threading
from typing import Any

import dagster as dg
import pytest

from pipedrive_pipeline.defs.location import LOCATION
from pipedrive_pipeline.defs.refresh import due_signals
from pipedrive_pipeline.errors import AuditBreach
from pipedrive_pipeline.ingest import refresh
from pipedrive_pipeline.ingest.outcome import EntityRead, Refreshed
from pipedrive_pipeline.marts.build import BuildRefused
from pipedrive_pipeline.sandbox import CrmAccount
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import walk_lock
from pipedrive_pipeline.sync.signals import store
from pipedrive_pipeline.sync.signals.loop import serve_until
from pipedrive_pipeline.sync.signals.refresh import serve_waiting
from pipedrive_pipeline.sync.signals.serving import SignalsInWalk
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World, environment_of

pytestmark = pytest.mark.slow
SCOPE = Scope(ACME, SYSTEM)
PERSON = 7


@pytest.fixture
def world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Acme, connected and synced; this process's environment leads to it."""
    world.first_sync()
    with environment_of(world) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    return world


def name_in_crm(world: World) -> str:
    """The name of the person in crm.contacts."""
    rows = world.rows("crm", "contacts")
    return str(next(row["name"] for row in rows if row["remote_id"] == str(PERSON)))


def test_a_refresh_during_a_long_walk_is_in_crm_before_the_walk_ends(
    world: World, account: CrmAccount
) -> None:
    """It waited for hours: one lock was held from the beginning of a walk to its end."""
    seen: list[str] = []
    answers: list[Refreshed] = []

    def on_page(read: EntityRead) -> None:
        if read.fetched and not answers:
            account.edit("persons", PERSON, name="Meanwhile")
            answers.append(refresh(ACME, SYSTEM, "persons", [PERSON]))
        seen.append(name_in_crm(world))

    world.sync(sync_type="full", on_page=on_page, chunk_rows=10)

    assert answers[0].is_signalled
    assert "Meanwhile" in seen  # read at a page of the walk
    assert world.rows("integration", "signals", "entity") == []


def test_a_signal_ends_the_chunk_of_a_walk(world: World, account: CrmAccount) -> None:
    """A chunk of 20,000 rows may take a minute to read."""
    account.edit("persons", PERSON, name="Early")
    store.signal_records(world.warehouse, SCOPE, "persons", [str(PERSON)])
    seen: list[str] = []

    world.sync(sync_type="full", on_page=lambda _read: seen.append(name_in_crm(world)))

    assert "Early" in seen  # before the only chunk would have ended
    assert world.rows("integration", "signals", "entity") == []


def test_a_signal_that_comes_while_it_is_served_stays(world: World) -> None:
    """Deleted by its record alone, the later change would be lost until the next sync."""
    store.signal_records(world.warehouse, SCOPE, "persons", [str(PERSON)])
    ((served,),) = ([row["signal"]] for row in world.rows("integration", "signals", "entity"))
    store.signal_records(world.warehouse, SCOPE, "persons", [str(PERSON)])

    with world.warehouse.transaction(tenant=ACME) as connection:
        store.settle(connection, SCOPE, [store.Signal("persons", str(PERSON), served)], [])

    assert len(world.rows("integration", "signals", "entity")) == 1


def test_a_signal_stays_until_its_marts_are_committed(world: World, account: CrmAccount) -> None:
    account.edit("persons", PERSON, name="Signalled")
    store.signal_records(world.warehouse, SCOPE, "persons", [str(PERSON)])
    with world.warehouse.transaction() as connection:
        connection.execute(
            "alter table crm.contacts add constraint refused check (name <> 'Signalled')"
        )

    with pytest.raises((AuditBreach, BuildRefused)):
        serve_waiting(world.warehouse, world.settings, SCOPE)
    waiting = len(world.rows("integration", "signals", "entity"))
    with world.warehouse.transaction() as connection:
        connection.execute("alter table crm.contacts drop constraint refused")
    served = serve_waiting(world.warehouse, world.settings, SCOPE)

    assert waiting == 1
    assert served.count == 1
    assert name_in_crm(world) == "Signalled"
    assert world.rows("integration", "signals", "entity") == []


def test_a_record_that_raw_has_as_it_is_is_served_without_a_build(world: World) -> None:
    """So are most that a write reads before its call, and the echo of each write of ours."""
    before = world.rows("integration", "mart_state", "system")
    store.signal_records(world.warehouse, SCOPE, "persons", [str(PERSON)])

    served = serve_waiting(world.warehouse, world.settings, SCOPE)

    assert (served.count, served.built) == (1, None)
    assert world.rows("integration", "mart_state", "system") == before
    assert world.rows("integration", "signals", "entity") == []


def test_a_walk_reads_on_where_its_signals_cannot_be_built(
    world: World, account: CrmAccount
) -> None:
    """Its own build, at the end, says what is wrong; hours of reading are not lost."""
    account.edit("persons", PERSON, name="Signalled")
    store.signal_records(world.warehouse, SCOPE, "persons", [str(PERSON)])
    with world.warehouse.transaction() as connection:
        connection.execute(
            "alter table crm.contacts add constraint refused check (name <> 'Signalled')"
        )

    with world.run(sync_type="full") as run:
        reads = list(run.read())

    assert all(read.is_complete for read in reads)
    assert len(world.rows("integration", "signals", "entity")) == 1


def test_a_signal_that_no_walk_serves_becomes_a_refresh_after_ten_seconds(
    world: World, account: CrmAccount
) -> None:
    account.edit("persons", PERSON, name="By webhook")
    store.signal_records(world.warehouse, SCOPE, "persons", [str(PERSON)])
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("tenants", [ACME.slug])
        at_once: Any = due_signals(dg.build_sensor_context(instance=instance))
        with world.warehouse.transaction() as connection:
            connection.execute(
                "update integration.signals set received_at = now() - interval '11 seconds'"
            )
        later: Any = due_signals(dg.build_sensor_context(instance=instance))
        (request,) = later.run_requests
        done = _refreshed(instance, dict(request.tags))

    assert isinstance(at_once, dg.SkipReason)
    assert request.partition_key == ACME.slug
    assert request.tags["pipeline/system"] == SYSTEM
    assert done.success
    assert name_in_crm(world) == "By webhook"
    assert world.rows("integration", "signals", "entity") == []


def _refreshed(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.ExecuteInProcessResult:
    return LOCATION.resolve_job_def("refresh").execute_in_process(
        instance=instance, partition_key=ACME.slug, tags=tags
    )


def test_a_walk_goes_on_for_as_long_as_signals_are_served(world: World) -> None:
    """Where edits arrive all the time, each chunk had one page, and a read took ten times as long.

    A turn that takes a minute holds signals back for ten seconds, not for a minute.
    """
    assert [seconds_until_served_again(world, taken) for taken in (1, 8, 60)] == [5, 8, 10]


def seconds_until_served_again(world: World, taken: int) -> int:
    """The whole seconds in which a walk goes on after a turn that took so many."""
    now = [0.0]

    class Records:
        def read_again(self, *_: object) -> None:
            now[0] += taken

        def read_children(self, *_: object) -> None:
            """None are due."""

    with walk_lock(world.warehouse, SCOPE) as lock:
        served: Any = Records()
        signals_in_walk = SignalsInWalk(lock, SCOPE, served, clock=lambda: now[0])
        store.signal_records(world.warehouse, SCOPE, "persons", [str(PERSON)])
        assert signals_in_walk.are_waiting()
        signals_in_walk.serve()
        store.signal_records(world.warehouse, SCOPE, "persons", [str(PERSON)])
        began = now[0]
        while not signals_in_walk.are_waiting():
            now[0] += 1
    return int(now[0] - began)


def test_the_loop_leaves_a_bulk_edit_to_a_run(world: World) -> None:
    """It took the tenant's lock every two seconds, and the run that serves the edit found it taken.

    The walk that is cheaper than 150 records by their ids is the run's.
    """
    ids = [str(row["id"]) for row in world.raw(ACME, "persons")][:150]
    store.signal_records(world.warehouse, SCOPE, "persons", ids)
    turns: list[int] = []

    stop = StopAfter(19)
    serve_until(
        stop,
        world.warehouse,
        world.settings,
        lambda _scope, served: turns.append(served.count),
        clock=lambda: stop.now,
    )

    assert turns == [0]
    assert serve_waiting(world.warehouse, world.settings, SCOPE).count == len(ids)


class StopAfter(threading.Event):
    """A loop's end, and a clock that goes on only while the loop waits."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.now, self._end = 0.0, seconds

    def wait(self, timeout: float | None = None) -> bool:
        """Waits no longer than the clock takes to go on."""
        self.now += timeout or 0
        if self.now > self._end:
            self.set()
        return self.is_set()
