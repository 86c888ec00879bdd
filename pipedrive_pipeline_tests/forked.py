"""Processes forked from one that has imported what commands and syncs need.

A command that runs a job imports for two seconds of processor time and works for a third of one.
Forked, it imports for a tenth of a second. Belongs here: that server process, and programs that
begin in it. Does not belong here: programs of which the start itself is the subject; those are
started by `subprocess`.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from pipedrive_pipeline.settings import PROJECT_ROOT

# None of them may read the environment when it is imported, as the command line and the modules of
# `defs` do: a program has an environment of its own.
IMPORTED = (
    "dagster",
    "dagster_postgres",
    "dlt.destinations",
    "rich.table",
    "typer",
    "pipedrive_pipeline.ingest.dlt_internals.packages",
    "pipedrive_pipeline.sync.runs.run",
    "pipedrive_pipeline_tests.scenarios.worker",
)
OUTPUT, ERRORS = "output", "errors"


def context() -> ForkServerContext:
    """How to start a process; the first one of a session starts the server."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([*IMPORTED])
    return forking


@dataclass(frozen=True)
class ForkedProgram:
    """A program that has begun, and the folder with its output."""

    process: ForkServerProcess
    folder: Path

    def ended(self, patience_seconds: float) -> tuple[int, str, str]:
        """Its exit code, output and errors, once it has ended."""
        self.process.join(patience_seconds)
        if self.process.exitcode is None:
            self.process.kill()
        output, errors = ((self.folder / name).read_text() for name in (OUTPUT, ERRORS))
        shutil.rmtree(self.folder)
        assert self.process.exitcode is not None, f"it hangs; {errors}"
        return self.process.exitcode, output, errors


def begun(module: str, words: tuple[str, ...], environment: Mapping[str, str]) -> ForkedProgram:
    """`python -m module words…` in the project's folder, with this environment and no other."""
    folder = Path(tempfile.mkdtemp(prefix="pp-"))
    for name in (OUTPUT, ERRORS):
        (folder / name).touch()
    process = context().Process(target=_become, args=(module, words, dict(environment), folder))
    process.start()
    return ForkedProgram(process, folder)


def _become(module: str, words: tuple[str, ...], environment: dict[str, str], folder: Path) -> None:
    for number, path in enumerate((Path(os.devnull), folder / OUTPUT, folder / ERRORS)):
        opened = os.open(path, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(PROJECT_ROOT)
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # a forked process would end without
