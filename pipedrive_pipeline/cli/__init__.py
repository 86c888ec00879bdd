"""The command line: one command, one sentence of help, one line of error.

Belongs here: the output on a terminal and exit codes. Does not belong here: the work itself; every
command calls another package. Dagster and dlt take seconds to import, so commands that need them
import them late.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from pathlib import Path

from pipedrive_pipeline.cli.app import command_line, importing
from pipedrive_pipeline.cli.output import errors
from pipedrive_pipeline.errors import (
    BudgetSpent,
    ExitCode,
    PipelineError,
    full_disk,
    lost_database,
)
from pipedrive_pipeline.settings import PROJECT_ROOT

__all__ = ["command_line", "main"]

YOUNG_OBJECTS = 50_000  # between two looks of the garbage collector; Python's own 700 are few


def main() -> None:
    """Runs the command line; every error of ours is one line and an exit code."""
    gc.set_threshold(YOUNG_OBJECTS)
    atexit.register(gc.freeze)  # all of it dies with the process; to look at it took 0.9 s
    try:
        with importing():
            commands = command_line(*sys.argv[1:2])
        commands(standalone_mode=True)
    except Exception as unnamed:  # noqa: BLE001 - the border: a trace goes to a file
        error = full_disk(unnamed) or lost_database(unnamed) or unnamed
        if not isinstance(error, PipelineError):
            errors.print(f"error: {_filed(error)}", soft_wrap=True, markup=False, highlight=False)
            sys.exit(ExitCode.FAILED)
        kind = "paused" if isinstance(error, BudgetSpent) else "error"
        errors.print(f"{kind}: {error}", soft_wrap=True, markup=False, highlight=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        errors.print("stopped.")
        sys.exit(ExitCode.FAILED)


def _filed(error: Exception) -> str:
    """The line for an unexpected error; its trace goes to a file that only its owner can read."""
    folder = Path(os.environ.get("PIPELINE_HOME", PROJECT_ROOT / ".local")) / "logs"
    file = folder / "unexpected-errors.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as log:
            log.write("".join(traceback.format_exception(error)))
    except OSError as unwritable:
        return f"unexpected {type(error).__name__}; {file} cannot be written ({unwritable})."
    return f"unexpected {type(error).__name__}; please report it, the trace is in {file}."
