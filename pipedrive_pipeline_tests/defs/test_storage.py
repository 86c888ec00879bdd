"""Dagster's storage keeps one connection per process, and none that the server has closed."""

from __future__ import annotations

import dagster as dg
import pytest
from sqlalchemy import event

from pipedrive_pipeline.defs.event_log import EventLogStorage
from pipedrive_pipeline.defs.storage import Storage
from pipedrive_pipeline.errors import DatabaseUnavailable
from pipedrive_pipeline_tests.scenarios.world import World
from pipedrive_pipeline_tests.waiting import free_port, wait_until

OURS = """
select pg_stat_activity.pid
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
"""
WAIT_SECONDS = 20  # a server's process ends a moment after its connection


def sessions(world: World) -> set[int]:
    """The server's processes that clients have open."""
    with world.warehouse.transaction() as connection:
        return {int(row[0]) for row in connection.execute(OURS)}


def use(instance: dg.DagsterInstance) -> None:
    """A query of each of the three storages."""
    instance.get_runs_count()
    instance.all_instigator_state()
    instance.get_dynamic_partitions("tenants")


@pytest.mark.slow
def test_runs_events_and_schedules_share_one_connection_that_ends_with_the_instance(
    world: World, instance: dg.DagsterInstance
) -> None:
    """Dagster would connect for each query: hundreds of times in a run."""
    use(instance)
    wait_until(lambda: len(sessions(world)) == 1, WAIT_SECONDS)
    (first,) = sessions(world)

    use(instance)

    assert sessions(world) == {first}
    instance.dispose()
    wait_until(lambda: not sessions(world), WAIT_SECONDS)


@pytest.mark.slow
def test_a_connection_that_the_server_ended_is_not_used(
    world: World, instance: dg.DagsterInstance
) -> None:
    """A failover of Postgres must not cost a run its events."""
    use(instance)
    with world.warehouse.transaction() as connection:
        connection.execute(f"select pg_terminate_backend(pid, 5000) from ({OURS}) as ours")

    use(instance)

    assert instance.get_dynamic_partitions("tenants") == ["acme"]


@pytest.mark.slow
def test_what_is_there_is_asked_for_once(instance: dg.DagsterInstance) -> None:
    """Dagster asks before most events, each time in a connection of its own."""
    events = instance.event_log_storage
    assert isinstance(events, EventLogStorage)
    asked: list[object] = []
    event.listen(events._engine, "before_execute", lambda *call: asked.append(call))
    events.has_table("asset_check_executions")
    events.has_asset_key_col("cached_status_data")
    first_asked = len(asked)

    is_known = events.has_table("asset_check_executions")
    is_known &= events.has_asset_key_col("cached_status_data")

    assert is_known
    assert len(asked) == first_asked > 0
    assert not events.has_table("of_a_later_release")
    assert len(asked) > first_asked


@pytest.mark.slow
def test_a_storage_that_cannot_be_reached_is_named_with_its_setting() -> None:
    """A wrong password was an unexpected error that asked to be reported."""
    url = f"postgresql://u:secret@127.0.0.1:{free_port()}/dagster"

    with pytest.raises(DatabaseUnavailable, match="DAGSTER_DATABASE_URL") as caught:
        Storage.from_config_value(None, {"postgres_url": url})

    assert "Connection refused" in str(caught.value)
    assert "secret" not in str(caught.value)
