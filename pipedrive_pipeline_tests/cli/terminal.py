"""Runs commands of the command line and returns their output and exit code.

Commands run in a process of their own, forked or begun anew, or in this process if they are cheap.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest

from pipedrive_pipeline import cli
from pipedrive_pipeline.settings import PROJECT_ROOT, Settings
from pipedrive_pipeline_tests import forked
from pipedrive_pipeline_tests.forked import ForkedProgram

PATIENCE_SECONDS = 100


@dataclass(frozen=True)
class CommandResult:
    """The output of one command, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        """The JSON that it printed."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of an error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert not self.out, self.out
        return lines[0]


@dataclass(frozen=True)
class Terminal:
    """Commands with these settings and no others."""

    settings: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """The command's environment: this machine's, with these settings only."""
        names = {name.upper() for name in Settings.model_fields}
        inherited = {name: value for name, value in os.environ.items() if name not in names}
        return {**inherited, "COLUMNS": "200", **self.settings}

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """A command in a process that begins anew, begun; ``more`` are further settings."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipedrive_pipeline", *words],
            env={**self.environment, **more},
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def fork(self, *words: str, **more: str) -> ForkedProgram:
        """The same in a forked process, which saves the start: two seconds where a job is run."""
        return forked.begun("pipedrive_pipeline", words, {**self.environment, **more})

    def run(self, *words: str, **more: str) -> CommandResult:
        """A command in a forked process, to its end."""
        return ended(self.fork(*words, **more))


def ended(process: subprocess.Popen[str] | ForkedProgram) -> CommandResult:
    """Returns the result of a command that was started."""
    if isinstance(process, ForkedProgram):
        return CommandResult(*process.ended(PATIENCE_SECONDS))
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return CommandResult(process.returncode, out, err)


@dataclass(frozen=True)
class InProcessTerminal:
    """Commands in this process, which saves them a second: those that need no Dagster."""

    terminal: Terminal
    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def run(self, *words: str, **more: str) -> CommandResult:
        """Runs a command to its end through `cli.main`, as a person's shell does.

        What it adds to the environment ends with it: the next test's Dagster would use it.
        """
        environment = {**self.terminal.environment, **more}
        with (
            patch.dict(os.environ, environment, clear=True),
            self.monkeypatch.context() as patched,
        ):
            patched.setattr(sys, "argv", ["pipedrive-pipeline", *words])
            self.capture.readouterr()
            with pytest.raises(SystemExit) as end:
                cli.main()
        result = self.capture.readouterr()
        return CommandResult(int(end.value.code or 0), result.out, result.err)
