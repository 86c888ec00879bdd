"""The `up` of this installation: at most one, identified by a lock file with its pid.

Processes that an earlier `up` left behind are found and ended here.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from pipedrive_pipeline.errors import ExitCode, Transient

DOWN_SECONDS = 60.0  # Dagster's servers end within 15; Postgres writes a checkpoint


class UpIsRunning(Transient):
    """An `up` already runs in this installation."""

    code = "up_is_running"
    exit_code = ExitCode.BUSY


class UpDoesNotEnd(Transient):
    """`up` received the signal to end and still runs."""

    code = "up_does_not_end"


@dataclass(frozen=True)
class Installation:
    """The files of one installation that `up` and `down` use."""

    home: Path

    @property
    def up_file(self) -> Path:
        """The addresses of a running `up`, for other programs."""
        return self.home / "up.json"

    @property
    def _lock_file(self) -> Path:
        return self.home / "up.lock"

    @property
    def _children_file(self) -> Path:
        return self.home / "up.children.json"

    @contextmanager
    def only_one(self) -> Iterator[None]:
        """Keeps a second `up` out until the end of the block, or of this process.

        Ends the processes that an earlier `up` left behind when it was killed.

        Raises:
            UpIsRunning: another `up` holds the lock.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        with self._lock_file.open("a+") as file:
            if not _locked(file):
                raise UpIsRunning(self._running_words())
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            self.up_file.unlink(missing_ok=True)
            _end_groups(self._recorded_children())
            try:
                yield
            finally:
                self.up_file.unlink(missing_ok=True)
                self._children_file.unlink(missing_ok=True)

    def require_no_up(self, command: str) -> None:
        """Returns if no `up` runs here.

        Raises:
            UpIsRunning: one does, and the command would work on the same sandbox.
        """
        if self.running_pid() is not None:
            raise UpIsRunning(
                f"{self._running_words()} `{command}` needs the sandbox for itself: run `down` "
                "first, or set PIPELINE_HOME to another folder."
            )

    def running_pid(self) -> int | None:
        """The pid of the `up` that runs here; None if none does."""
        if not self._lock_file.exists():
            return None
        with self._lock_file.open("a+") as file:
            if _locked(file):
                return None
            file.seek(0)
            return int(file.read() or 0) or None

    def record_children(self, pids: Sequence[int]) -> None:
        """Records the processes of this `up`, so that the next one can end them if it is killed."""
        self._children_file.write_text(json.dumps([[pid, _began(pid)] for pid in pids]))

    def stop(self) -> int | None:
        """Ends the `up` that runs here and waits for it; returns its pid, None if none ran.

        Raises:
            UpDoesNotEnd: it is still there after a minute.
        """
        pid = self.running_pid()
        if pid is None:
            return None
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + DOWN_SECONDS
        while self.running_pid() is not None:
            if time.monotonic() > deadline:
                raise UpDoesNotEnd(
                    f"`up` (pid {pid}) was asked to end and has not within {DOWN_SECONDS:.0f} s; "
                    f"its logs are in {self.home / 'logs'}. `kill -9 {pid}` ends it; the next `up` "
                    "ends what it leaves behind."
                )
            time.sleep(0.1)
        return pid

    def _running_words(self) -> str:
        addresses: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            addresses = json.loads(self.up_file.read_text())
        where = ", ".join(str(url) for name, url in addresses.items() if name != "pid")
        pid = self.running_pid()
        return f"`up` is already running in {self.home}: pid {pid}, {where or 'still starting'}."

    def _recorded_children(self) -> list[psutil.Process]:
        try:
            children = json.loads(self._children_file.read_text())
        except (OSError, ValueError):
            return []
        return [
            psutil.Process(pid)
            for pid, began in children
            if began is not None and _began(pid) == began
        ]


def _locked(file: IO[str]) -> bool:
    """True if the lock was free and is ours now; the system frees it when this process ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _began(pid: int) -> float | None:
    """The start time of a process, None if there is none: a pid may belong to another by now."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _end_groups(leaders: Sequence[psutil.Process]) -> None:
    """Ends each process with its group: SIGTERM first, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for leader in leaders:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(leader.pid, number)
        psutil.wait_procs(leaders, timeout=5)
