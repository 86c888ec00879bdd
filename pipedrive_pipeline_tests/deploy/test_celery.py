"""Many machines: runs are spread over workers, and a worker that dies takes no run with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
RUNNING = (
    "select dagster_run_id from integration.sync_logs where status = 'running' and tenant_id = '{}'"
)
HANGING = Tenant("hanging")
PROCESSES = 2  # of each worker


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


def hang(sandbox: Sandbox) -> None:
    """Requests for persons do not return, so that the worker can be killed meanwhile."""
    sandbox.faults.add("slow", seconds=3_600, times=99, path="/api/v2/persons")


def is_hanging(sandbox: Sandbox) -> bool:
    return bool(sandbox.requests.of("/api/v2/persons"))


@dataclass(frozen=True)
class NightResult:
    """The runs of each worker in a night in which one of them died."""

    mortal: set[str]  # the runs that each worker began
    survivor: set[str]
    hanging: str  # the run that is known to have been on the dead one


def night(
    machines: Fleet, sources: Mapping[Tenant, Sandbox], slow: Sandbox, seconds: float
) -> NightResult:
    """A worker is killed after a third of the tenants, while a run of it hangs; all are synced."""
    world, log = machines.world, (machines.home / "daemon.log").read_text
    first, second = (machines.start_worker(name, PROCESSES) for name in ("first", "second"))
    machines.start_daemon()

    def is_midnight() -> bool:
        return is_hanging(slow) and value(world, SYNCED) >= len(sources) // 3

    wait_until(is_midnight, seconds, log)
    hanging = value(world, RUNNING.format(HANGING))
    is_first = hanging in machines.runs_of(first)
    mortal, survivor = (first, second) if is_first else (second, first)
    assert hanging in machines.runs_of(mortal)
    mortal.kill()
    slow.faults.clear()
    wait_until(lambda: value(world, SYNCED) == len(sources), seconds, log)
    return NightResult(machines.runs_of(mortal), machines.runs_of(survivor), hanging)


@contextmanager
def connected(world: World, count: int) -> Iterator[dict[Tenant, Sandbox]]:
    """So many tenants, each with its source; the first one has a source of its own."""
    with ExitStack() as served:
        slow, common = (served.enter_context(serve(seeded(12, 35))) for _ in range(2))
        hang(slow)
        others = {Tenant(f"tenant{number}"): common for number in range(1, count)}
        sources = {HANGING: slow, **others}
        for tenant, sandbox in sources.items():
            world.connect(tenant, sandbox)
        yield sources


def assert_runs_were_taken_up_again(
    world: World, tenants: Iterable[Tenant], outcome: NightResult
) -> None:
    history = {tenant: world.history(tenant) for tenant in tenants}
    broken = [row for rows in history.values() for row in rows if row["status"] != "success"]
    assert outcome.hanging in {row["dagster_run_id"] for row in broken}
    assert len(broken) <= PROCESSES
    for row in broken:
        assert [error["code"] for error in row["errors"]] == ["killed"]
        assert row["dagster_run_id"] in outcome.mortal
        again = history[Tenant(row["tenant_id"])][-1]
        assert (again["status"], again["dagster_run_id"] in outcome.survivor) == ("success", True)


@needs_redis
@pytest.mark.long
@pytest.mark.parametrize(
    ("count", "seconds"),
    [
        pytest.param(6, 240, marks=pytest.mark.timeout(600)),
        pytest.param(50, 900, marks=pytest.mark.timeout(2_400)),
    ],
)
def test_tenants_are_synced_though_one_of_two_workers_dies(
    database_url: str, tmp_path: Path, count: int, seconds: float
) -> None:
    world = world_at(database_url, tmp_path)
    with connected(world, count) as sources, fleet(world, tmp_path) as machines:
        outcome = night(machines, sources, sources[HANGING], seconds)

        assert min(len(outcome.mortal), len(outcome.survivor)) >= max(1, count // 15)
        assert not outcome.mortal & outcome.survivor
        assert_runs_were_taken_up_again(world, sources, outcome)
        for tenant, sandbox in sources.items():
            assert_all_equals_source(world, sandbox, tenant)
