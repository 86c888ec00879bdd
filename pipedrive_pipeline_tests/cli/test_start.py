"""What a command imports before it does anything: it is most of the time of a short command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pipedrive_pipeline.cli.app import COMMANDS

PROGRAM = """
import json, sys
from importlib import import_module
for name in sys.argv[1:]:
    import_module(name)
print(json.dumps(list(sys.modules)))
"""
HEAVY = {"alembic", "dagster", "dlt", "fastapi", "pyarrow", "sqlalchemy"}
MODULES = [f"pipedrive_pipeline.{path.partition(':')[0]}" for path in COMMANDS.values()]
CLI, DEFS = "pipedrive_pipeline.cli", "pipedrive_pipeline.defs"
MODULES_MAX = {
    ("status", f"{CLI}.status"): 760,
    ("a sync until its lock is taken", f"{CLI}.sync"): 850,
    ("a run in Dagster", f"{CLI}.sync", f"{DEFS}.location", f"{DEFS}.storage"): 1_950,
}


def imported(*modules: str) -> set[str]:
    """The modules of a new process that has imported these."""
    command = [sys.executable, "-c", PROGRAM, *modules]
    answer = subprocess.run(command, capture_output=True, check=True, text=True)
    return {*json.loads(answer.stdout)}


@pytest.mark.slow
@pytest.mark.parametrize("start", MODULES_MAX, ids=lambda start: start[0])
def test_a_start_imports_no_more_modules_than_it_did(start: tuple[str, ...]) -> None:
    """Raise the limit with a reason: a thousand modules take a second."""
    assert len(imported(*start[1:])) <= MODULES_MAX[start]


@pytest.mark.slow
def test_a_command_begins_without_the_libraries_of_a_run() -> None:
    """A sync that finds its tenant busy answers at once, and other commands need none of them."""
    names = {name.partition(".")[0] for name in imported(*MODULES)}

    assert names.isdisjoint(HEAVY)


@pytest.mark.slow
def test_dlt_is_imported_with_the_first_load() -> None:
    """It takes a second, and a sync that finds nothing new loads nothing."""
    names = imported(f"{CLI}.sync", f"{DEFS}.location", f"{DEFS}.storage")

    assert "dlt" not in names
    assert "pipedrive_pipeline.ingest.raw" in names
