"""A run that was stopped, lost its lock and wakes up late writes nothing more."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing.context import ForkServerProcess
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql

from pipedrive_pipeline import marts
from pipedrive_pipeline.connectors.contract import Page, Tombstone
from pipedrive_pipeline.errors import PipelineError, Superseded
from pipedrive_pipeline.ingest.batches import batch_of
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import TenantLock, walk_lock
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.runs.tenant_stores import TenantStores, open_tenant_stores
from pipedrive_pipeline.sync.tenancy import expiry, person_erasure
from pipedrive_pipeline.vault.disconnect import disconnect
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline_tests.scenarios import worker
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.points import Point
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

pytestmark = pytest.mark.slow
RENAMES = 68  # in one incremental sync, from the 23rd on of jobs that are loaded
AT_FIRST_JOB, AMID_A_LOAD = 24, 40
# What the newer run, Dagster and the late run's own end may write.
ITS_OWN = (
    *("runs", "run_entities", "run_marts", "api_usage", "budget_statements", "alerts"),
    *("audit_log", "fences"),
)


@pytest.fixture
def account() -> CrmAccount:
    return seeded(30, 60)


def everything_written(world: World) -> dict[str, list[Any]]:
    """Every row that a run may write, with its `xmin`, by table."""
    with world.warehouse.connect() as connection:
        tables = connection.execute(
            """
            select table_schema, table_name from information_schema.tables
            where (table_schema in ('crm', 'integration') or table_schema ~ '^(raw|staging)_')
                and table_type = 'BASE TABLE' and table_name <> all (%s)
            """,
            [list(ITS_OWN)],
        ).fetchall()
        views = connection.execute(
            "select schemaname || '.' || viewname, md5(definition) from pg_views"
            " where schemaname ~ '^analytics_' order by 1"
        ).fetchall()
        rows = {
            ".".join(table): connection.execute(
                sql.SQL("select xmin::text, held::text from {} as held order by 2").format(
                    sql.Identifier(*table)
                )
            ).fetchall()
            for table in tables
        }
    return rows | {"views": views}


def assert_the_late_one_writes_nothing(
    world: World, sandbox: Sandbox, account: CrmAccount, stopped: ForkServerProcess
) -> None:
    assert worker.is_stopped(stopped)
    world.cut_off()
    account.edit("persons", 7, name="der neuere Lauf sah das")
    account.delete("persons", 8)
    world.sync(sync_type="sweep")
    before = everything_written(world)

    assert worker.wake(stopped) == worker.SUPERSEDED

    assert everything_written(world) == before
    assert_all_equals_source(world, sandbox)
    assert [row["status"] for row in world.history()] == ["success", "failed", "success"]
    assert world.history()[1]["errors"][-1]["code"] == "superseded"


def test_a_run_that_is_stopped_while_it_reads_cannot_load_what_it_read(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """It holds answers of before the newer run, whose edits and marks it would undo."""
    world.first_sync()
    account.edit_many("persons", range(1, 20), job_title="alt")

    stopped = worker.start_sync(
        world, ACME, sync_type="sweep", at=Point("call", 5, "after", signal.SIGSTOP)
    )

    assert_the_late_one_writes_nothing(world, sandbox, account, stopped)


@pytest.mark.long
@pytest.mark.parametrize("number", range(1, RENAMES + 1))
def test_a_run_that_is_stopped_amid_a_load_cannot_go_on_with_it(
    number: int, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """It would truncate the newer run's staging tables, merge from them, and complete its load."""
    world.first_sync()
    account.edit_many("persons", range(1, 20), job_title="alt")

    stopped = worker.start_sync(world, ACME, at=Point("rename", number, "after", signal.SIGSTOP))

    assert_the_late_one_writes_nothing(world, sandbox, account, stopped)


def move_to_another_company(world: World, sandbox: Sandbox) -> None:
    """Its ids are the former company's too, and mean other people."""
    del sandbox
    other = seeded(5, 9, seed=4)
    other.company_id += 1
    with serve(other) as running:
        world.connect(ACME, running, is_other_company=True)


def erase_and_add_again(world: World, sandbox: Sandbox) -> None:
    """Under the same name, with a new consent of the same company."""
    world.erase()
    world.connect(ACME, sandbox)


def erase(world: World, sandbox: Sandbox) -> None:
    """For good: neither its row, nor its fences, schemas and files are there."""
    erase_and_add_again(world, sandbox)
    world.erase()


def end_the_connection(world: World, sandbox: Sandbox) -> None:
    """The tenant wants nothing of its CRM to arrive here any more."""
    del sandbox
    disconnect(open_vault(world.warehouse, world.settings), Scope(ACME, SYSTEM), who="a test")


def run_again(world: World, sandbox: Sandbox) -> None:
    """What the late run read is older than what this one reads."""
    sandbox.account.edit("persons", 7, name="der neuere Lauf sah das")
    world.sync(sync_type="sweep")


Event = Callable[[World, Sandbox], None]
EVENTS: tuple[Event, ...] = (
    move_to_another_company,
    erase_and_add_again,
    erase,
    end_the_connection,
    run_again,
)


@contextmanager
def late_run(world: World) -> Iterator[tuple[TenantLock, TenantStores]]:
    """A run that holds both locks, and has looked at them for the last time."""
    source = SourceAccess(world.warehouse, world.settings, Scope(ACME, SYSTEM))
    with (
        suppress(PipelineError, psycopg.Error),  # its sessions are gone
        walk_lock(world.warehouse, Scope(ACME, SYSTEM)) as lock,
        lock.with_marts() as both,
    ):
        yield both, open_tenant_stores(world.settings.pipeline_home / "late", both, source)


def writes_of(lock: TenantLock, stores: TenantStores) -> dict[str, Callable[[], object]]:
    """Everything that a run writes to a tenant's tables, each in one call."""
    persons = stores.refresher.entities["persons"]
    record = {"id": msgspec.Raw(b"7"), "name": msgspec.Raw(b'"zu spaet"')}
    batch = batch_of(persons, Page([record], sent=1, arrived=2))
    late = lock.warehouse
    return {
        "rows": lambda: stores.raw.load([batch]),
        "cursors": lambda: stores.raw.move({"persons": {"watermark": "2020"}}, {}),
        "marks": lambda: stores.deletions.mark(persons, [Tombstone("8", "deleted")]),
        "marks taken back": lambda: stores.deletions.unmark(batch),
        "keys seen": lambda: stores.seen_keys.note([batch]),
        "a read begun": lambda: stores.seen_keys.begin({"persons": datetime.now(UTC)}),
        "keys forgotten": lambda: stores.seen_keys.end(["persons"]),
        "single records": lambda: stores.refresher.refresh("persons", ["7"]),
        "marts": lambda: marts.build(late, Scope(ACME, SYSTEM)),
        "views": lambda: marts.publish_views(late, ACME),
        "erased ones": lambda: person_erasure.erase_returned_records(late, Scope(ACME, SYSTEM)),
        "aged ones": lambda: expiry.erase_expired(late, Scope(ACME, SYSTEM)),
    }


@pytest.mark.parametrize("event", EVENTS)
def test_nothing_is_written_by_a_run_that_looked_at_its_lock_before(
    event: Event, world: World, sandbox: Sandbox
) -> None:
    """A number that only the next run raised let one company's rows into another's tables.

    It began at 1 again for a tenant that was erased and added again. No read removed the rows.
    """
    world.first_sync()
    with late_run(world) as (lock, stores):
        world.cut_off()
        event(world, sandbox)
        before = everything_written(world)

        came_to: dict[str, object] = {}
        for name, write in writes_of(lock, stores).items():
            try:
                came_to[name] = write()
            except Exception as error:  # noqa: BLE001 - any but one is what this is about
                came_to[name] = type(error)

        assert set(came_to.values()) == {Superseded}, came_to
        assert everything_written(world) == before


@pytest.mark.parametrize("event", [move_to_another_company, erase_and_add_again, erase])
def test_a_process_that_is_stopped_amid_a_load_ends_as_superseded(
    event: Event, world: World, sandbox: Sandbox
) -> None:
    """It finds its tables, files and the tenant gone, or another company's in their place."""
    world.first_sync()
    sandbox.account.edit_many("persons", range(1, 20), job_title="alt")
    stopped = worker.start_sync(
        world, ACME, at=Point("rename", AMID_A_LOAD, "after", signal.SIGSTOP)
    )
    assert worker.is_stopped(stopped)
    world.cut_off()
    event(world, sandbox)
    before = everything_written(world)

    assert worker.wake(stopped) == worker.SUPERSEDED

    assert everything_written(world) == before
    assert not list((world.settings.pipeline_home / "scratch").rglob("*.csv"))


def test_a_disconnect_ends_a_run_that_is_alive_at_its_next_write(
    world: World, sandbox: Sandbox
) -> None:
    sandbox.faults.before(2, lambda: end_the_connection(world, sandbox))

    with pytest.raises(Superseded):
        world.sync(sync_type="full")

    (row,) = world.history()
    assert (row["status"], row["errors"][-1]["code"]) == ("failed", "superseded")
    assert world.rows("crm", "contacts") == []


def test_a_run_that_goes_on_while_its_tenant_moves_books_to_the_former_company(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """The new company would be paused for what the former one spent."""

    def move() -> None:
        world.cut_off()
        move_to_another_company(world, sandbox)

    sandbox.faults.before(2, move)
    with suppress(PipelineError, psycopg.Error):  # its sessions are gone
        world.sync(sync_type="full")

    usage = world.rows("integration", "api_usage", order_by="call_kind")
    assert sum(row["tokens"] for row in usage) > 0
    assert {row["company_id"] for row in usage} == {str(account.company_id)}


def test_a_run_that_another_one_followed_builds_no_marts_and_no_views(
    world: World, account: CrmAccount, sandbox: Sandbox
) -> None:
    """It read everything, and would build from raw as the newer run is changing it."""
    world.first_sync()
    account.edit("persons", 7, name="neu")
    with suppress(PipelineError), world.run() as run:
        list(run.read())
        world.cut_off()
        run_again(world, sandbox)
        before = everything_written(world)

        with pytest.raises(Superseded, match="another run has begun since"):
            run.build_marts()
        with pytest.raises(Superseded):
            run.publish_views()

        assert everything_written(world) == before


def test_a_build_goes_on_while_a_read_is_stopped_amid_a_load(
    world: World, sandbox: Sandbox
) -> None:
    """A first full read takes hours, in which a mapping must be applied to what is there."""
    world.first_sync()
    sandbox.account.edit_many("persons", range(1, 20), job_title="neu")
    stopped = worker.start_sync(
        world, ACME, at=Point("rename", AT_FIRST_JOB, "after", signal.SIGSTOP)
    )
    assert worker.is_stopped(stopped)
    assert "neu" not in {row["job_title"] for row in world.rows("raw_pipedrive_acme", "persons")}

    with world.run(sync_type="remap") as run:
        run.build_marts()
        run.publish_views()
    assert [row["status"] for row in world.history()] == ["success", "running", "success"]

    assert worker.wake(stopped) == 0
    assert_all_equals_source(world, sandbox)
