"""Sensors start a run for each request at their first tick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import time_machine
import yaml

from pipedrive_pipeline.defs import jobs, sensors
from pipedrive_pipeline.errors import BudgetSpent
from pipedrive_pipeline.marts import publish_views
from pipedrive_pipeline.sandbox import seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline_tests.scenarios.world import ACME, World, environment_of, world_at


@pytest.fixture
def world(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A warehouse that this process's environment leads to."""
    world = world_at(database_url, tmp_path)
    with environment_of(world) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    return world


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@dg.job
def waiting_job() -> None:
    """A job in place of ours: only its run's tags and status count."""


def requested(tick: object) -> list[tuple[str | None, str | None]]:
    """The runs that a tick asks for: job, where the sensor has several, and tenant."""
    assert isinstance(tick, dg.SensorResult), tick
    for run in tick.run_requests or ():
        kinds = {key.path[0] for key in run.asset_selection or ()}
        assert run.tags["pipeline/system"] == "pipedrive"  # it was lost on the way to Dagster
        assert kinds - {"pipedrive"} == {"crm", "analytics"}
    return [(run.job_name, run.partition_key) for run in tick.run_requests or ()]


def test_a_connection_becomes_a_run_and_its_tenant_a_partition_at_the_first_look(
    world: World, instance: dg.DagsterInstance
) -> None:
    """A tenant that waits for another sensor's turn waits for up to half a minute more."""
    with serve(seeded(3, 5)) as sandbox:
        world.connect(ACME, sandbox)

    tick = sensors.sync_requests(dg.build_sensor_context(instance=instance))

    assert requested(tick) == [("full_resync", "acme")]
    assert isinstance(tick, dg.SensorResult)
    assert [request.partition_keys for request in tick.dynamic_partitions_requests or ()] == [
        ["acme"]
    ]


def test_a_tenant_that_is_registered_between_two_looks_keeps_its_partition(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sensors run in threads: the one for requests adds partitions while this one looks."""
    looks = 0

    def between(look: Callable[..., Any]) -> Callable[..., Any]:
        def looked(*arguments: Any) -> Any:
            nonlocal looks
            result, looks = look(*arguments), looks + 1
            if looks == 1:
                registry.add(world.warehouse, world.settings, ACME)
                instance.add_dynamic_partitions("tenants", [ACME.slug])
            return result

        return looked

    for owner, name in ((dg.DagsterInstance, "get_dynamic_partitions"), (sensors, "all_tenants")):
        monkeypatch.setattr(owner, name, between(getattr(owner, name)))

    tick = sensors.tenant_partitions(dg.build_sensor_context(instance=instance))

    assert looks == 2
    assert isinstance(tick, dg.SensorResult)
    (change,) = tick.dynamic_partitions_requests or ()
    assert isinstance(change, dg.AddDynamicPartitionsRequest)


def test_a_paused_sync_goes_on_once_its_budget_has_returned(
    world: World, instance: dg.DagsterInstance
) -> None:
    """Until then no tick requests it."""
    with serve(seeded(3, 5)) as sandbox:
        world.connect(ACME, sandbox)
        sandbox.faults.add("daily_429", times=9)
        with pytest.raises(BudgetSpent):
            world.sync(sync_type="full")

    while_paused = sensors.sync_requests(dg.build_sensor_context(instance=instance))
    with world.warehouse.transaction() as connection:
        connection.execute("update integration.runs set resume_at = now()")
    later = sensors.sync_requests(dg.build_sensor_context(instance=instance))

    assert isinstance(while_paused, dg.SkipReason)
    assert requested(later) == [("full_resync", "acme")]


def test_a_run_that_waits_in_a_long_queue_is_not_requested_again(
    world: World, instance: dg.DagsterInstance
) -> None:
    """Of fifty tenants whose night took ten minutes, those that still waited ran twice."""
    with serve(seeded(3, 5)) as sandbox:
        world.connect(ACME, sandbox)
    context = dg.build_sensor_context(instance=instance)
    first = sensors.sync_requests(context)
    assert isinstance(first, dg.SensorResult)
    (asked,) = first.run_requests or ()
    run = instance.create_run_for_job(
        waiting_job, status=dg.DagsterRunStatus.STARTING, tags=dict(asked.tags)
    )

    while_it_waits = sensors.sync_requests(context)
    instance.report_run_failed(run)
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=sensors.ASKED_AGAIN_SECONDS)):
        once_it_has_ended = sensors.sync_requests(context)

    assert isinstance(while_it_waits, dg.SkipReason)
    assert requested(once_it_has_ended) == [("full_resync", "acme")]


def test_a_request_whose_run_failed_before_it_began_gets_another_run_soon(
    world: World, instance: dg.DagsterInstance
) -> None:
    """It waited for up to ten minutes, and so did each later `sync now`, which joined it."""
    with serve(seeded(3, 5)) as sandbox:
        world.connect(ACME, sandbox)
    keys = []
    for wait_seconds in (0, 15, 30, 60, 120):
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=wait_seconds - 2)):
            early = sensors.sync_requests(dg.build_sensor_context(instance=instance))
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=wait_seconds)):
            tick = sensors.sync_requests(dg.build_sensor_context(instance=instance))
        assert isinstance(early, dg.SkipReason) or wait_seconds == 0
        assert isinstance(tick, dg.SensorResult)
        (asked,) = tick.run_requests or ()
        keys.append(asked.run_key)
        run = instance.create_run_for_job(waiting_job, tags=dict(asked.tags))
        instance.report_run_failed(run, "the code server was away")

    assert len(set(keys)) == len(keys)


def test_a_request_whose_run_was_terminated_in_the_queue_is_cancelled(
    world: World, instance: dg.DagsterInstance
) -> None:
    """The run came back fifteen seconds later, each time that it was terminated."""
    with serve(seeded(3, 5)) as sandbox:
        world.connect(ACME, sandbox)
    tick = sensors.sync_requests(dg.build_sensor_context(instance=instance))
    assert isinstance(tick, dg.SensorResult)
    (asked,) = tick.run_requests or ()
    run = instance.create_run_for_job(waiting_job, tags=dict(asked.tags))
    instance.report_run_canceled(run)

    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=60)):
        later = sensors.sync_requests(dg.build_sensor_context(instance=instance))

    assert isinstance(later, dg.SkipReason)
    with world.warehouse.transaction() as connection:
        states = connection.execute("select state from integration.sync_requests").fetchall()
    assert states == [("cancelled",)]


def test_a_run_waits_only_for_runs_that_need_its_lock() -> None:
    """A remap waited for a walk of hours, although each has a lock of its own."""
    limits = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())["concurrency"]["runs"]
    (limit,) = limits["tag_concurrency_limits"]
    kinds: tuple[SyncType, ...] = ("incremental", "full", "sweep", "remap", "verify")

    locks = {
        kind: jobs.request(Scope(ACME, "pipedrive"), kind, run_key="", tags={}).tags[limit["key"]]
        for kind in kinds
    }

    assert (limit["limit"], limit["value"]) == (1, {"applyLimitPerUniqueValue": True})
    assert locks["incremental"] == locks["full"] == locks["sweep"] == "raw/acme/pipedrive"
    assert locks["remap"] == locks["verify"] == "marts/acme"


@pytest.mark.slow
def test_a_sweep_that_is_due_becomes_one_run(world: World, instance: dg.DagsterInstance) -> None:
    """The same due time has the same run key: no second run, for any interval."""
    with serve(seeded(3, 5)) as sandbox:
        world.connect(ACME, sandbox)
        world.sync(sync_type="full")
    instance.add_dynamic_partitions("tenants", ["acme"])
    context = dg.build_sensor_context(instance=instance)
    fresh = sensors.due_sweeps(context)
    with world.warehouse.transaction() as connection:
        connection.execute(
            "update integration.runs set started_at = started_at - interval '9 days',"
            " completed_at = completed_at - interval '9 days'"
        )
        connection.execute(
            "update integration.run_entities set started_at = started_at - interval '9 days',"
            " swept_at = swept_at - interval '9 days'"
        )
        connection.execute(
            "update integration.connections set connected_at = connected_at - interval '9 days'"
        )

    ticks = [sensors.due_sweeps(context) for _ in range(2)]

    assert isinstance(fresh, dg.SkipReason)
    assert [requested(tick) for tick in ticks] == [[("sweep", "acme")]] * 2
    keys = {run.run_key for tick in ticks for run in tick.run_requests}  # type: ignore[union-attr]
    assert len(keys) == 1


@pytest.mark.slow
def test_marts_are_compared_with_raw_each_week(world: World, instance: dg.DagsterInstance) -> None:
    """A tick asks for each due tenant once, under a key of its due time."""
    instance.add_dynamic_partitions("tenants", ["acme"])
    with serve(seeded(3, 5)) as sandbox:
        world.connect(ACME, sandbox)
        world.sync()
    context = dg.build_sensor_context(instance=instance)
    fresh = sensors.due_verifications(context)
    with world.warehouse.transaction() as connection:
        connection.execute(
            "update integration.connections set connected_at = now() - interval '20 days'"
        )
        connection.execute(
            "update integration.runs set started_at = now() - interval '9 days',"
            " completed_at = now() - interval '9 days'"
        )

    ticks = [sensors.due_verifications(context) for _ in range(2)]

    assert isinstance(fresh, dg.SkipReason)
    assert [requested(tick) for tick in ticks] == [[("verify", "acme")]] * 2
    results = [tick for tick in ticks if isinstance(tick, dg.SensorResult)]
    assert len({run.run_key for tick in results for run in tick.run_requests or ()}) == 1


@pytest.mark.slow
def test_views_that_are_due_are_remade_by_a_tick(
    world: World, instance: dg.DagsterInstance
) -> None:
    """No run, no process: their reader waits for a fifth of a second at most."""
    registry.add(world.warehouse, world.settings, ACME)
    publish_views(world.warehouse, ACME)
    with world.warehouse.transaction() as connection:
        connection.execute(
            "insert into integration.mart_state (tenant_id, system, views_due_at, views_published)"
            " values ('acme', 'pipedrive', now(), 'older')"
        )
    context = dg.build_sensor_context(instance=instance)
    with world.warehouse.transaction() as analyst:
        analyst.execute("select from analytics_acme.customers")
        waiting = sensors.due_views(context)

    remade, nothing = sensors.due_views(context), sensors.due_views(context)

    ticks = [tick for tick in (waiting, remade, nothing) if isinstance(tick, dg.SkipReason)]
    assert [tick.skip_message for tick in ticks] == [
        "views remade: none; still read: acme.",
        "views remade: acme; still read: none.",
        "no views are due.",
    ]
