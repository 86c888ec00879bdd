"""Events of a run are written together; Dagster's tables are as if each was written by itself."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster_postgres.event_log import PostgresEventLogStorage
from psycopg import sql
from pydantic import SecretStr

from pipedrive_pipeline.cli.job_run import RunOptions, run_systems
from pipedrive_pipeline.cli.session import CommandSession, dagster_environment
from pipedrive_pipeline.defs.event_log import WAIT_SECONDS, EventLogStorage
from pipedrive_pipeline.defs.location import LOCATION
from pipedrive_pipeline.errors import ExitCode
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.scenarios.postgres_proxy import statement_counter
from pipedrive_pipeline_tests.scenarios.world import ACME, World
from pipedrive_pipeline_tests.waiting import wait_until

ROWS = {  # without ids, and without what contains one
    "event_logs": "select run_id, dagster_event_type, timestamp, step_key, asset_key, partition",
    "asset_keys": "select asset_key, last_run_id, last_materialization_timestamp",
    "asset_event_tags": "select asset_key, key, value, event_timestamp",
    "asset_check_executions": (
        "select asset_key, check_name, partition, run_id, execution_status, "
        "evaluation_event_timestamp, materialization_event_storage_id"
    ),
}
PLAIN = "written_one_by_one"
# 300 on an idle machine; events and progress are written each second.
QUIET_STATEMENTS_MAX, QUIET_CONNECTIONS_MAX = 400, 12
WAITED_SECONDS = 20 * WAIT_SECONDS


@pytest.fixture
def plain(world: World) -> Iterator[PostgresEventLogStorage]:
    """Dagster's own storage, with tables of its own in the same database."""
    with world.warehouse.transaction() as connection:
        connection.execute(f"create schema {PLAIN}")
    url = dagster_environment(CommandSession(world.settings, world.warehouse))
    storage = PostgresEventLogStorage(url["DAGSTER_DATABASE_URL"].replace("dagster", PLAIN))
    yield storage
    storage.dispose()


def rows(world: World, schema: str, table: str) -> list[tuple[object, ...]]:
    query = sql.SQL(f"{ROWS[table]} from {{}}").format(sql.Identifier(schema, table))
    with world.warehouse.transaction() as connection:
        return sorted(connection.execute(query).fetchall(), key=repr)


def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return LOCATION.resolve_job_def("sync").execute_in_process(
        instance=instance, partition_key="acme", raise_on_error=False
    )


@pytest.mark.slow
def test_a_run_leaves_the_rows_that_dagster_would_have_written_one_by_one(
    world: World, instance: dg.DagsterInstance, plain: PostgresEventLogStorage
) -> None:
    """Its tables are not ours; this test fails if a later version of Dagster writes others."""
    result = run(instance)

    for event in instance.all_logs(result.run_id):
        plain.store_event(event)
    assert result.success
    for table in ROWS:
        assert rows(world, "dagster", table) == rows(world, PLAIN, table) != [], table
    assert list(plain.get_logs_for_run(result.run_id)) == instance.all_logs(result.run_id)


@pytest.mark.slow
def test_a_run_that_finds_nothing_new_asks_little(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of our own statements and connections and Dagster's: at first they were 1,230 and 108."""
    with statement_counter(world.warehouse.url) as counter:
        settings = world.settings.model_copy(update={"database_url": SecretStr(counter.url)})
        session = CommandSession(settings, Warehouse(counter.url))
        for name, value in dagster_environment(session).items():
            monkeypatch.setenv(name, value)
        codes = []
        for _everything_digests_quiet in range(3):
            counter.forget()
            codes.append(
                run_systems(session, ACME, None, RunOptions("incremental"), on_end=lambda _: None)
            )

    assert codes == [ExitCode.OK] * 3
    assert len(counter.statements) <= QUIET_STATEMENTS_MAX
    assert counter.connections <= QUIET_CONNECTIONS_MAX


@pytest.mark.slow
def test_each_check_names_the_materialization_of_its_own_run(instance: dg.DagsterInstance) -> None:
    """The run does not ask which one is the newest: it has stored it."""
    run(instance)
    result = run(instance)

    made = {
        record.asset_key: record.storage_id
        for record in instance.get_records_for_run(
            result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        ).records
    }
    targets = {
        evaluation.asset_key: evaluation.target_materialization_data.storage_id
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.target_materialization_data
    }
    assert targets
    assert targets.items() <= made.items()


@pytest.mark.slow
def test_a_result_is_read_at_once_here_and_within_a_second_elsewhere(
    instance: dg.DagsterInstance,
) -> None:
    """A run may read its source for an hour after it stored a result."""
    events = instance.event_log_storage
    assert isinstance(events, EventLogStorage)
    other = EventLogStorage(events.postgres_url, should_autocreate_tables=False)
    waiting = next(
        event
        for event in instance.all_logs(run(instance).run_id)
        if event.dagster_event_type is dg.DagsterEventType.STEP_OUTPUT
    )._replace(run_id="another run")

    events.store_event(waiting)

    assert list(other.get_logs_for_run("another run")) == []
    wait_until(lambda: list(other.get_logs_for_run("another run")) == [waiting], WAITED_SECONDS)
    events.store_event(waiting)
    assert list(events.get_logs_for_run("another run")) == [waiting, waiting]
    other.dispose()
