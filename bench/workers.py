"""CPU of one unchanged tenant's sync: on a warm Celery worker, and by Dagster's default launcher.

    uv run --group dev python bench/workers.py --tenants 20

Small tenants share one sandbox; the first sync is not measured, the second changes nothing. CPU is
that of the processes that make runs (goal: 2.5 s on a warm worker), and beside it Postgres's; wall
time says nothing on a machine that has other work. Everything stands in a temporary directory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from pipedrive_pipeline.sandbox import seeded, serve
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.deploy.fleet import CELERY, Fleet, fleet
from pipedrive_pipeline_tests.scenarios.world import World, world_at
from pipedrive_pipeline_tests.waiting import wait_until

PATIENCE_SECONDS = 3_600
ENDED = "select count(*) from integration.sync_logs where status = 'success' and sync_type = %s"
ASK = """
insert into integration.sync_requests (tenant_id, system, sync_type, trigger)
select slug, 'pipedrive', 'incremental', 'manual' from integration.tenants
"""


@dataclass(frozen=True)
class Cost:
    """Of one unchanged tenant's sync."""

    cpu_seconds: float
    postgres_cpu_seconds: float
    wall_seconds: float  # of the whole night, divided by its tenants


def measured(launcher: Path, tenants: int, processes: int) -> Cost:
    """What a second night costs, per tenant."""
    with (
        databases.server() as template,
        databases.copy_of(template) as url,
        tempfile.TemporaryDirectory(prefix="pp-") as folder,
        serve(seeded(120, 350)) as sandbox,
    ):
        world = world_at(url, Path(folder))
        with fleet(world, Path(folder), launcher) as made:
            for number in range(tenants):
                world.connect(Tenant(f"tenant{number}"), sandbox)
            spent = _spent_by(made, processes) if launcher.parent == CELERY else None
            made.start_daemon()
            _wait(world, "full", tenants)
            return _night(world, tenants, spent or (lambda: _reaped(made)))


def _spent_by(made: Fleet, processes: int) -> Callable[[], float]:
    return made.start_worker("worker", processes).cpu_seconds


def _reaped(made: Fleet) -> float:
    """CPU of every run's process that has ended, as its code server knows it."""
    servers = made.running[-1].children(recursive=True)
    times = [one.cpu_times() for one in servers if one.is_running()]
    return float(sum(one.children_user + one.children_system for one in times))


def _night(world: World, tenants: int, spent: Callable[[], float]) -> Cost:
    with world.warehouse.connect() as connection:
        postmaster = psutil.Process(connection.info.backend_pid).parents()[0]
    with _spending(spent) as workers, _spending(lambda: _of_postgres(postmaster)) as postgres:
        began = time.monotonic()
        with world.warehouse.transaction() as connection:
            connection.execute(ASK)
        _wait(world, "incremental", tenants)
        wall = time.monotonic() - began
        time.sleep(5)  # until the last processes have been waited for
    return Cost(
        cpu_seconds=round(workers[0] / tenants, 2),
        postgres_cpu_seconds=round(postgres[0] / tenants, 2),
        wall_seconds=round(wall / tenants, 2),
    )


@contextmanager
def _spending(meter: Callable[[], float]) -> Iterator[list[float]]:
    """What a meter moved by within the block; known at its end."""
    moved: list[float] = []
    before = meter()
    yield moved
    moved.append(meter() - before)


def _of_postgres(postmaster: psutil.Process) -> float:
    times = postmaster.cpu_times()
    ended = times.children_user + times.children_system
    alive = 0.0
    for one in postmaster.children():
        child = one.cpu_times()
        alive += child.user + child.system
    return float(ended + alive)


def _wait(world: World, sync_type: str, count: int) -> None:
    def is_done() -> bool:
        with world.warehouse.connect() as connection:
            row = connection.execute(ENDED, [sync_type]).fetchone()
        return bool(row and row[0] >= count)

    wait_until(is_done, PATIENCE_SECONDS)


def main() -> None:
    """Measures both launchers and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2, help="of the Celery worker")
    parser.add_argument("--launchers", nargs="+", default=["celery", "default"])
    asked = parser.parse_args()
    launchers = {"celery": CELERY / "dagster.yaml", "default": PROJECT_ROOT / "dagster.yaml"}
    for name in asked.launchers:
        cost = measured(launchers[name], asked.tenants, asked.processes)
        print(json.dumps({"launcher": name, "tenants": asked.tenants, **asdict(cost)}), flush=True)


if __name__ == "__main__":
    main()
