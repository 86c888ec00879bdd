"""`bench`: runs the measurement of `bench/`, whole commands as multiples of the cheapest copy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipedrive_pipeline.cli.options import AsJson
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.settings import PROJECT_ROOT

WORKLOADS = PROJECT_ROOT / "bench" / "workloads.py"


def bench(
    organizations: Annotated[int, typer.Option(min=1, help="How many to read.")] = 20_000,
    persons: Annotated[int, typer.Option(min=1, help="How many to read.")] = 60_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often; medians are printed.")] = 1,
    chart: Annotated[
        Path | None, typer.Option(help="Measure growth to 500,000 persons instead, as this SVG.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Measure reads against their floors, on an account and a database of its own."""
    if not WORKLOADS.exists():
        raise BadInput(f"`bench` needs a checkout of the project; {WORKLOADS} is not there.")
    options = {"organizations": organizations, "persons": persons, "rounds": rounds, "chart": chart}
    command = [sys.executable, str(WORKLOADS), *(["--json"] if json else [])]
    for name, value in options.items():
        command += [f"--{name}", str(value)] if value is not None else []
    sys.exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - our own script
