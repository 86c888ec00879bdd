"""`./run bench`: a full read end to end, as a multiple of the floor, in one run on one machine.

A sandbox account of the given size is served by a separate process, which is not part of the
measurement. The floor (`floor.py`) is measured before and after the pipeline, because a machine's
speed varies; the pipeline is the command `sync --full`, measured from outside, from its start to
filled marts. A sync in which nothing changed follows. Everything is in a temporary directory, with
its own embedded Postgres.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipedrive_pipeline.warehouse.embedded import ensure_running

ROOT = Path(__file__).resolve().parent.parent
TENANT = "bench"
API_TOKEN = "bench-token-bench-token-bench-token-4242"  # noqa: S105 - of this sandbox only
GOAL_RATIO, GOAL_MB = 2.5, 700
KIBIBYTES_PER_MB = 1024  # of what the kernel reports
COMMAND = (sys.executable, "-m", "pipedrive_pipeline")


@dataclass(frozen=True)
class Measured:
    """One command, seen from outside."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: dict[str, Any]

    @property
    def calls(self) -> int:
        """Calls that the command says it made."""
        return sum(entity["api_calls"] for entity in self.output["entities"].values())


@dataclass(frozen=True)
class Result:
    """What `bench` reports."""

    organizations: int
    persons: int
    floor_seconds: float
    floor_calls: int
    full_seconds: float
    full_cpu_seconds: float
    ratio: float
    full_calls: int
    full_tokens: int
    peak_mb: float
    unchanged_seconds: float
    unchanged_calls: int
    unchanged_tokens: int
    is_within_goal: bool


def main() -> None:
    """Measures and prints; ends with 1 if something that is measured failed."""
    asked = _arguments()
    home = Path(tempfile.mkdtemp(prefix="pipeline-bench-"))
    home.chmod(0o755)  # root's server runs as an account that must reach it
    server = ensure_running(home)
    try:
        with sandbox(home, organizations=asked.organizations, persons=asked.persons) as url:
            result = _measured(asked, url, home, server.url)
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(asdict(result), indent=2) if asked.json else _sentences(result))


def _measured(asked: argparse.Namespace, url: str, home: Path, database_url: str) -> Result:
    environment = environment_of(home)
    connect_tenant(url, environment)
    floor = [sys.executable, str(ROOT / "bench" / "floor.py"), url, API_TOKEN, database_url]
    run(floor, environment)  # the sandbox creates its records on the first read
    before = run(floor, environment)
    full = run([*COMMAND, "sync", "--tenant", TENANT, "--full", "--json"], environment)
    after = run(floor, environment)
    unchanged = run([*COMMAND, "sync", "--tenant", TENANT, "--json"], environment)
    floor_seconds = (before.output["seconds"] + after.output["seconds"]) / 2
    ratio = full.seconds / floor_seconds
    return Result(
        organizations=asked.organizations,
        persons=asked.persons,
        floor_seconds=round(floor_seconds, 2),
        floor_calls=before.output["calls"],
        full_seconds=round(full.seconds, 2),
        full_cpu_seconds=round(full.cpu_seconds, 2),
        ratio=round(ratio, 2),
        full_calls=full.calls,
        full_tokens=full.output["tokens_spent"],
        peak_mb=round(full.peak_mb),
        unchanged_seconds=round(unchanged.seconds, 2),
        unchanged_calls=unchanged.calls,
        unchanged_tokens=unchanged.output["tokens_spent"],
        is_within_goal=ratio <= GOAL_RATIO and full.peak_mb <= GOAL_MB,
    )


def connect_tenant(url: str, environment: dict[str, str]) -> None:
    """Adds the tenant and connects it to the sandbox."""
    for command in (
        ("tenants", "add", TENANT),
        ("connect", "--tenant", TENANT, "--api-token", API_TOKEN, "--api-url", url),
    ):
        subprocess.run(  # noqa: S603 - our own command
            [*COMMAND, *command], env=environment, check=True, stdout=sys.stderr
        )


def run(command: list[str], environment: dict[str, str]) -> Measured:
    """Runs a command that prints JSON; time and memory are the kernel's, of this child alone."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, env=environment, stdout=output)  # noqa: S603 - ours
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        output.seek(0)
        text = output.read()
    if child.returncode:
        sys.exit(f"bench: {' '.join(command[:4])} ended with {child.returncode}.")
    peak_mb = used.ru_maxrss / KIBIBYTES_PER_MB
    return Measured(seconds, used.ru_utime + used.ru_stime, peak_mb, json.loads(text))


@contextmanager
def sandbox(home: Path, **records: int) -> Iterator[str]:
    """The URL of a sandbox in a process of its own, which ends with the block."""
    sizes = [part for name, count in records.items() for part in (f"--{name}", str(count))]
    command = (*COMMAND, "sandbox", "--port", "0", "--api-token", API_TOKEN, *sizes)
    child = subprocess.Popen(  # noqa: S603 - our own command
        command, env=environment_of(home), stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None  # noqa: S101 - stdout is a pipe
        yield child.stdout.readline().split()[-1]
    finally:
        child.terminate()
        child.wait()


def environment_of(home: Path) -> dict[str, str]:
    """The caller's environment without settings that lead to their own data."""
    ours = {"DATABASE_URL", "DAGSTER_DATABASE_URL", "DAGSTER_HOME", "TOKEN_ENCRYPTION_KEYS"}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return inherited | {
        "PIPELINE_HOME": str(home),
        "PIPEDRIVE_ALLOWED_HOSTS": "127.0.0.1",
        "SCHEDULES": "off",
        "PYTHONUNBUFFERED": "1",
    }


def _sentences(result: Result) -> str:
    met = "within" if result.is_within_goal else "not within"
    return (
        f"{result.organizations:,} organizations and {result.persons:,} persons\n"
        f"floor        {result.floor_seconds:.1f} s, {result.floor_calls} calls\n"
        f"full read    {result.full_seconds:.1f} s ({result.full_cpu_seconds:.1f} s of CPU), "
        f"{result.full_calls} calls, {result.full_tokens:,} tokens, "
        f"at most {result.peak_mb:.0f} MB\n"
        f"ratio        {result.ratio:.2f} ({met} the goal: {GOAL_RATIO} and {GOAL_MB} MB)\n"
        f"no change    {result.unchanged_seconds:.1f} s, {result.unchanged_calls} calls, "
        f"{result.unchanged_tokens} tokens"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--organizations", type=int, default=20_000)
    parser.add_argument("--persons", type=int, default=60_000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
