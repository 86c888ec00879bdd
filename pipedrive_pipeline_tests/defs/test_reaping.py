"""A run whose process is gone is ended, and one that lives is left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from pipedrive_pipeline.defs.dead_runs import GRACE_SECONDS, dead_runs, without_a_row
from pipedrive_pipeline.defs.location import LOCATION
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline.warehouse import locks
from pipedrive_pipeline_tests.scenarios.world import ACME, World

pytestmark = pytest.mark.slow


def started(instance: dg.DagsterInstance, tenant: str = "acme") -> dg.DagsterRun:
    """A run that Dagster believes alive."""
    return instance.create_run_for_job(
        LOCATION.resolve_job_def("sync"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": tenant},
    )


def begun(world: World, run: dg.DagsterRun) -> None:
    """Its history row while it runs."""
    with world.warehouse.transaction() as connection:
        connection.execute(
            "insert into integration.runs"
            " (tenant_id, system, sync_type, trigger, dagster_run_id)"
            " values ('acme', 'pipedrive', 'incremental', 'manual', %s)",
            [run.run_id],
        )


def look(instance: dg.DagsterInstance) -> str:
    """What the sensor says of one look."""
    result = dead_runs(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    stored = instance.get_run_by_id(run.run_id)
    assert stored is not None
    return stored.status


def test_a_dead_run_is_ended_at_the_first_look_in_dagster_and_in_the_history(
    world: World, instance: dg.DagsterInstance
) -> None:
    """After a reboot Dagster believes it alive for ever, and the tenant's next run waits."""
    dead = started(instance)
    begun(world, dead)

    assert look(instance) == "1 dead runs were ended."
    assert look(instance) == "no run is dead."

    assert status(instance, dead) is dg.DagsterRunStatus.FAILURE
    assert [row["status"] for row in world.history()] == ["failed"]


def test_a_run_that_holds_its_lock_is_left_alone(
    world: World, instance: dg.DagsterInstance
) -> None:
    alive = started(instance)
    begun(world, alive)

    with tenant_lock(world.warehouse, ACME):
        assert look(instance) == "no run is dead."

    assert status(instance, alive) is dg.DagsterRunStatus.STARTED
    assert [row["status"] for row in world.history()] == ["running"]


def test_a_run_without_a_row_is_dead_only_after_a_silence(
    world: World, instance: dg.DagsterInstance
) -> None:
    """Between a run's start and its lock lies a second; a run in it must not be ended."""
    lost = started(instance)
    instance.report_engine_event("it begins", lost)
    now = datetime.now(UTC)
    later = now + timedelta(seconds=GRACE_SECONDS + 5)

    assert list(without_a_row(instance, world.warehouse, now)) == []
    assert list(without_a_row(instance, world.warehouse, later)) == [lost.run_id]
    with tenant_lock(world.warehouse, ACME):
        assert list(without_a_row(instance, world.warehouse, later)) == []


def test_nothing_is_judged_while_a_migration_holds_every_lock_back(
    world: World, instance: dg.DagsterInstance
) -> None:
    """A run that waits for the migration holds no lock yet, and lives."""
    waiting = started(instance)
    begun(world, waiting)

    with world.warehouse.lock_session() as migration:
        locks.take(migration, locks.MIGRATION)
        result = look(instance)

    assert "another session holds what is needed" in result
    assert status(instance, waiting) is dg.DagsterRunStatus.STARTED
