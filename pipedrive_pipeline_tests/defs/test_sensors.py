"""Sensors: what was asked for becomes a run, at the first look."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from pipedrive_pipeline.defs import sensors
from pipedrive_pipeline.sandbox import seeded, serve
from pipedrive_pipeline.sync.history import SyncType
from pipedrive_pipeline_tests.scenarios.world import ACME, environment_of, world_at


def test_a_connection_becomes_a_run_and_its_tenant_a_partition_at_the_first_look(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant that waits for another sensor's turn waits for up to half a minute more."""
    world = world_at(database_url, tmp_path)
    with serve(seeded(3, 5)) as sandbox:
        world.connect(ACME, sandbox)
    with environment_of(world) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    with dg.DagsterInstance.ephemeral() as instance:
        tick = sensors.sync_requests(dg.build_sensor_context(instance=instance))

    assert isinstance(tick, dg.SensorResult)
    (run,) = tick.run_requests or ()
    assert (run.job_name, run.partition_key) == ("full_resync", "acme")
    assert [one.partition_keys for one in tick.dynamic_partitions_requests or ()] == [["acme"]]


@pytest.mark.parametrize(
    ("sync_type", "job"),
    [
        ("incremental", "sync"),
        ("full", "full_resync"),
        ("sweep", "sweep"),
        ("remap", "remap"),
    ],
)
def test_each_kind_of_request_has_its_own_job(
    sync_type: SyncType,
    job: str,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A remap that was asked for once ran as a sync, and called the source."""
    world = world_at(database_url, tmp_path)
    with serve(seeded(1, 1)) as sandbox:
        world.connect(ACME, sandbox)
    with world.warehouse.transaction() as connection:
        connection.execute("update integration.sync_requests set sync_type = %s", [sync_type])
    with environment_of(world) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    with dg.DagsterInstance.ephemeral() as instance:
        tick = sensors.sync_requests(dg.build_sensor_context(instance=instance))

    assert isinstance(tick, dg.SensorResult)
    (run,) = tick.run_requests or ()
    assert (run.job_name, run.tags["pipeline/sync_type"]) == (job, sync_type)
