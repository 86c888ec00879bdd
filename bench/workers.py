"""CPU of one unchanged tenant's sync by launcher, and the needs of a night with many tenants.

    uv run --group dev python bench/workers.py --tenants 20

Small tenants share one sandbox. The first sync is not measured; no night after it changes anything.
`celery` is a warm worker (goal: 2.5 s of CPU), `default` Dagster's default launcher with a process
for each run, `command` is `./run sync`. All processes are counted, ended ones too; what the daemon
and Postgres spend on doing nothing is measured first and taken off. Wall time is meaningless on a
machine with other work. Everything is in a temporary directory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from math import ceil
from pathlib import Path
from statistics import median

import psutil
from processors import spent, spent_by_ended

from pipedrive_pipeline.sandbox import seeded, serve
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.deploy.fleet import CELERY, Fleet, fleet
from pipedrive_pipeline_tests.scenarios.world import World, world_at
from pipedrive_pipeline_tests.waiting import wait_until

PATIENCE_SECONDS = 3_600
IDLE_SECONDS = 120  # the daemon starts a new code server every minute
SETTLE_SECONDS = 10  # until the last processes have been waited for
WINDOW_HOURS = 6
TENANTS_A_NIGHT = (1_000, 10_000)
USED = 0.7  # of a core that is said to be needed
INSTANCES = {"celery": CELERY / "dagster.yaml", "default": PROJECT_ROOT / "dagster.yaml"}
COMMAND = "command"
SYNCED = "select count(*) from integration.sync_logs where status = 'success'"
RUN_SECONDS = """
select coalesce(percentile_cont(0.5) within group (order by end_time - start_time), 0)
from (select * from dagster.runs order by id desc limit %s) as newest
"""
ASK = """
insert into integration.sync_requests (tenant_id, system, sync_type, trigger)
select slug, 'pipedrive', 'incremental', 'manual' from integration.tenants
"""
Meter = Callable[[], float]  # CPU seconds, ever growing


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one unchanged tenant's sync, beyond what passes without it."""

    runs: float  # the processes that make runs, where Dagster's daemon does not start them
    daemon: float  # Dagster's daemon and all that it starts: code servers, and the default's runs
    postgres: float


@dataclass(frozen=True)
class Measured:
    """The result of several nights."""

    cost: Cost  # each figure the median of the nights
    idle_cores: Cost  # the same processes, nothing to do
    run_seconds: float  # a run's median wall time; a process is taken for so long


def _meters(workers: Fleet, name: str, processes: int) -> dict[str, Meter]:
    """Starts the processes that make runs; returns a meter for each part."""
    with workers.world.warehouse.connect() as connection:
        postmaster = psutil.Process(connection.info.backend_pid).parents()[0]
    meters: dict[str, Meter] = {"postgres": lambda: spent(postmaster)}
    if name == COMMAND:
        us = psutil.Process()
        return meters | {"runs": lambda: spent_by_ended(us), "daemon": lambda: 0.0}
    worker = workers.start_worker("worker", processes).process if name == "celery" else None
    workers.start_daemon()
    daemon = workers.running[-1]
    meters["daemon"] = lambda: spent(daemon)
    meters["runs"] = lambda: spent(worker) if worker else 0.0
    return meters


def measured(name: str, tenants: int, nights: int, processes: int) -> Measured:
    """The cost per tenant of nights in which nothing changed."""
    with (
        databases.server() as template,
        databases.copy_of(template) as url,
        tempfile.TemporaryDirectory(prefix="pp-") as folder,
        serve(seeded(120, 350)) as sandbox,
    ):
        world = world_at(url, Path(folder))
        instance = INSTANCES.get(name, INSTANCES["default"])
        with fleet(world, Path(folder), instance) as workers:
            for number in range(tenants):
                world.connect(Tenant(f"tenant{number}"), sandbox)
            meters = _meters(workers, name, processes)
            _sync_all(workers, name, tenants)
            time.sleep(SETTLE_SECONDS)
            idle = _idle_cores(meters)
            costs = [_night(workers, name, tenants, meters, idle) for _ in range(nights)]
            return Measured(_medians(costs), _rounded(idle), _run_seconds(world, tenants * nights))


def _sync_all(workers: Fleet, name: str, tenants: int) -> None:
    """Returns when all tenants are synced once more."""
    if name == COMMAND:
        for number in range(tenants):
            words = ["-m", "pipedrive_pipeline", "sync", "--tenant", f"tenant{number}"]
            subprocess.run(  # noqa: S603 - our own command
                [sys.executable, *words],
                env=dict(workers.environment),
                check=True,
                capture_output=True,
            )
        return
    before = _synced(workers.world)
    if before:  # otherwise connecting has requested the syncs
        with workers.world.warehouse.transaction() as connection:
            connection.execute(ASK)
    wait_until(lambda: _synced(workers.world) >= before + tenants, PATIENCE_SECONDS)


def _synced(world: World) -> int:
    with world.warehouse.connect() as connection:
        row = connection.execute(SYNCED).fetchone()
    return int(row[0]) if row else 0


def _run_seconds(world: World, count: int) -> float:
    with world.warehouse.connect() as connection:
        row = connection.execute(RUN_SECONDS, [count]).fetchone()
    return round(float(row[0]), 1) if row else 0.0


@contextmanager
def _spending(meters: Mapping[str, Meter]) -> Iterator[dict[str, float]]:
    """Yields a dict, filled at the end of the block: each meter's increase, and the seconds."""
    moved: dict[str, float] = {}
    began = time.monotonic()
    before = {name: meter() for name, meter in meters.items()}
    yield moved
    moved.update({name: meter() - before[name] for name, meter in meters.items()})
    moved["seconds"] = time.monotonic() - began


def _idle_cores(meters: Mapping[str, Meter]) -> Cost:
    with _spending(meters) as moved:
        time.sleep(IDLE_SECONDS)
    return Cost(**{name: moved[name] / moved["seconds"] for name in meters})


def _night(
    workers: Fleet, name: str, tenants: int, meters: Mapping[str, Meter], idle: Cost
) -> Cost:
    with _spending(meters) as moved:
        _sync_all(workers, name, tenants)
        time.sleep(SETTLE_SECONDS)
    at_rest = asdict(idle)
    return Cost(
        **{name: (moved[name] - at_rest[name] * moved["seconds"]) / tenants for name in meters}
    )


def _medians(costs: list[Cost]) -> Cost:
    names = [field.name for field in fields(Cost)]
    return _rounded(Cost(**{name: median(getattr(cost, name) for cost in costs) for name in names}))


def _rounded(cost: Cost) -> Cost:
    return Cost(**{name: round(value, 2) for name, value in asdict(cost).items()})


def needed(result: Measured, tenants: int) -> dict[str, float]:
    """Cores for so many tenants within the window, and processes that make runs."""
    window = WINDOW_HOURS * 3_600 * USED
    cores = {
        f"{part}_cores": round(part_cost * tenants / window + getattr(result.idle_cores, part), 2)
        for part, part_cost in asdict(result.cost).items()
    }
    return {
        "tenants": tenants,
        "hours": WINDOW_HOURS,
        **cores,
        "processes": ceil(result.run_seconds * tenants / window),
    }


def main() -> None:
    """Measures each way to make runs, and prints the costs and the needs of larger nights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--nights", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="of the Celery worker")
    parser.add_argument("--launchers", nargs="+", default=[*INSTANCES, COMMAND])
    arguments = parser.parse_args()
    for name in arguments.launchers:
        result = measured(name, arguments.tenants, arguments.nights, arguments.processes)
        conditions = {"launcher": name, "tenants": arguments.tenants, "nights": arguments.nights}
        print(json.dumps({**conditions, **asdict(result)}), flush=True)
        for tenants in TENANTS_A_NIGHT:
            print(json.dumps({"launcher": name, "a_night": needed(result, tenants)}), flush=True)


if __name__ == "__main__":
    main()
