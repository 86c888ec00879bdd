"""`bench`: runs the measurement of `bench/`, a full read as a multiple of the cheapest copy."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from pipedrive_pipeline.cli.options import AsJson
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.settings import PROJECT_ROOT

FULL_READ = PROJECT_ROOT / "bench" / "full_read.py"


def bench(
    organizations: Annotated[int, typer.Option(min=1, help="How many to read.")] = 20_000,
    persons: Annotated[int, typer.Option(min=1, help="How many to read.")] = 60_000,
    json: AsJson = False,
) -> None:
    """Measure a full read against the floor, on a sandbox and a database of its own."""
    if not FULL_READ.exists():
        raise BadInput(f"`bench` needs a checkout of the project; {FULL_READ} is not there.")
    sizes = ["--organizations", str(organizations), "--persons", str(persons)]
    command = [sys.executable, str(FULL_READ), *sizes, *(["--json"] if json else [])]
    sys.exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - our own script
