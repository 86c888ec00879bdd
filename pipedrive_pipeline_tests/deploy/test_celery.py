"""Many machines: runs are spread over workers, and a worker that dies takes no run with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.deploy.fleet import CELERY, Fleet, fleet, redis_server
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.world import World, world_at
from pipedrive_pipeline_tests.waiting import wait_until

needs_redis = pytest.mark.skipif(
    redis_server() is None,
    reason="no Redis: its wheel has none for this Python; `apt-get install redis-server`",
)
SYNCED = "select count(distinct tenant_id) from integration.sync_logs where status = 'success'"
HANGING = """
select dagster_run_id
from integration.sync_logs
where status = 'running' and clock_timestamp() - started_at > interval '15 seconds'
"""


def instance_config(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return config


def test_the_workers_instance_is_the_projects_own_but_for_launcher_and_output() -> None:
    """Two files of one thing grow apart."""
    ours = instance_config(PROJECT_ROOT / "dagster.yaml")
    workers = instance_config(CELERY / "dagster.yaml")

    del workers["run_launcher"], workers["compute_logs"]

    assert workers == ours


def value(world: World, query: str) -> Any:
    with world.warehouse.connect() as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def hang_one_call(sandbox: Sandbox) -> None:
    """One tenant's run waits for persons, long enough for its worker to be killed meanwhile."""
    sandbox.faults.add("slow", seconds=240, path="/api/v2/persons")


def synced_by_two_workers_of_which_one_dies(
    database_url: str, home: Path, tenants: list[Tenant], seconds: float
) -> None:
    world = world_at(database_url, home)
    with serve(seeded(12, 35)) as sandbox, fleet(world, home) as machines:
        for tenant in tenants:
            world.connect(tenant, sandbox)
        hang_one_call(sandbox)
        first, second = (machines.start_worker(name, 2) for name in ("first", "second"))
        machines.start_daemon()

        wait_until(lambda: value(world, HANGING) is not None, seconds, lambda: log(machines))
        hanging = value(world, HANGING)
        mortal, survivor = (
            (first, second) if hanging in machines.runs_of(first) else (second, first)
        )
        assert hanging in machines.runs_of(mortal)
        mortal.kill()
        wait_until(lambda: value(world, SYNCED) == len(tenants), seconds, lambda: log(machines))

        before, after = machines.runs_of(mortal), machines.runs_of(survivor)
        assert before
        assert after
        assert not before & after
        for tenant in tenants:
            assert_all_equals_source(world, sandbox, tenant)
        killed = [row for tenant in tenants for row in world.history(tenant) if row["errors"]]
        assert hanging in {row["dagster_run_id"] for row in killed}
        for row in killed:  # the worker has two processes, and each may have made a run
            assert row["errors"][0]["code"] == "killed"
            assert row["dagster_run_id"] in before
            again = world.history(Tenant(row["tenant_id"]))[-1]
            assert (again["status"], again["dagster_run_id"] in after) == ("success", True)


def log(machines: Fleet) -> str:
    return (machines.home / "daemon.log").read_text()


@needs_redis
@pytest.mark.long
@pytest.mark.timeout(600)
def test_six_tenants_are_synced_though_one_of_two_workers_dies(
    database_url: str, tmp_path: Path
) -> None:
    tenants = [Tenant(f"tenant{number}") for number in range(6)]
    synced_by_two_workers_of_which_one_dies(database_url, tmp_path, tenants, seconds=240)


@needs_redis
@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_fifty_tenants_are_synced_though_one_of_two_workers_dies(
    database_url: str, tmp_path: Path
) -> None:
    tenants = [Tenant(f"tenant{number}") for number in range(50)]
    synced_by_two_workers_of_which_one_dies(database_url, tmp_path, tenants, seconds=900)
