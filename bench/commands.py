"""What the benches of whole commands share: a home, a tenant, a command seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TENANT = "bench"
API_TOKEN = "bench-token-bench-token-bench-token-4242"  # noqa: S105 - of this sandbox only
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


def connect_tenant(url: str, environment: dict[str, str], tenant: str = TENANT) -> None:
    """Adds the tenant and connects it to the sandbox."""
    for command in (
        ("tenants", "add", tenant),
        ("connect", "--tenant", tenant, "--api-token", API_TOKEN, "--api-url", url),
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
        sys.exit(f"bench: {' '.join(command[:4])} ended with {child.returncode}.\n{text.decode()}")
    peak_mb = used.ru_maxrss / KIBIBYTES_PER_MB
    return Measured(seconds, used.ru_utime + used.ru_stime, peak_mb, json.loads(text))


@contextmanager
def sandbox(home: Path, **records: int) -> Iterator[str]:
    """The URL of a sandbox in a process of its own, which ends with the block."""
    with served(
        [*COMMAND, "sandbox", "--port", "0", "--api-token", API_TOKEN], home, records
    ) as url:
        yield url


@contextmanager
def served(program: list[str], home: Path, records: dict[str, int]) -> Iterator[str]:
    """The URL that a program prints, which serves so many records until the block ends."""
    sizes = [part for name, count in records.items() for part in (f"--{name}", str(count))]
    command = [*program, *sizes]
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
