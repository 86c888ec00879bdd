"""Errors of the embedded server, and the translation of a failed start's log into one of them."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipedrive_pipeline.errors import DatabaseUnavailable, Permanent, Transient

LOG_READ_BYTES = 65_536  # the lines of one start are a few hundred


class PortTaken(Permanent):
    """Another program listens on the wanted port, or this account may not open it."""

    code = "port_taken"

    def __init__(self, port: int, holder: str) -> None:
        self.port, self.holder = port, holder
        super().__init__(
            f"port {port} on 127.0.0.1 cannot be used for Postgres: {holder}. "
            f"Free it, or set POSTGRES_PORT to another port."
        )


class PortNeedsRestart(Transient):
    """The server runs without this port and others work in it; a restart would cut them off."""

    code = "port_needs_restart"

    def __init__(self, port: int, connection_count: int) -> None:
        self.port, self.connection_count = port, connection_count
        super().__init__(
            f"the embedded Postgres runs without port {port}, and opening it takes a restart that "
            f"would cut off {connection_count} open connection(s). Let those commands end, then "
            f"run this again; or unset POSTGRES_PORT."
        )


class HomeUnusable(Permanent):
    """The server's folder cannot be used by the account that runs this command."""

    code = "home_unusable"

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"{path}: cannot be used for the embedded Postgres ({reason}). "
            f"Set PIPELINE_HOME to a folder of your own, or DATABASE_URL to another Postgres."
        )


class NoAccount(Permanent):
    """Root has no unprivileged account that it could run Postgres as."""

    code = "no_account"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"Postgres refuses to run as root, and {reason}. "
            f"Run this as an ordinary user, or set DATABASE_URL to another Postgres."
        )


class ServerDiskFull(Permanent):
    """There is no room for the database's files."""

    code = "disk_full"

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{path}: the disk is full; the embedded Postgres needs about 100 MB to begin. "
            f"Make room, or set PIPELINE_HOME to a folder on another disk."
        )


class StartFailed(Permanent):
    """Postgres or its initdb gave up; the last words of its log say why."""

    code = "start_failed"

    def __init__(self, last_words: str, log: Path) -> None:
        self.last_words, self.log = last_words, log
        super().__init__(f"the embedded Postgres did not start: {last_words} Its log: {log}")


class ServerSilent(DatabaseUnavailable):
    """A server of this folder is alive but does not answer, or is still recovering."""

    code = "server_silent"

    def __init__(self, waited_seconds: float, socket: Path, log: Path) -> None:
        self.waited_seconds, self.socket, self.log = waited_seconds, socket, log
        super().__init__(
            f"the embedded Postgres is alive but did not answer on {socket} within "
            f"{waited_seconds:.0f} s. It may be recovering: run this again, and read {log}."
        )


@contextmanager
def named_for(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals below ``path`` into errors of this module.

    Raises:
        ServerDiskFull: somebody must make room.
        HomeUnusable: the folder's owner must act, or another folder be chosen.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ServerDiskFull(path) from error
        raise HomeUnusable(Path(error.filename or path), error.strerror or str(error)) from error


def failed_start(log: Path, folder: Path, port: int | None, logged_bytes: int) -> Permanent:
    """The error for a server that died at its start, from its log after ``logged_bytes``."""
    lines = _since(log, logged_bytes).splitlines()
    if any("No space left on device" in line for line in lines):
        return ServerDiskFull(folder)
    unbound = [line for line in lines if "could not bind" in line]
    if port is not None and unbound:
        return PortTaken(port, unbound[0].rpartition(": ")[2])
    complaints = [line for line in lines if re.search("FATAL:|PANIC:|rror", line)]
    last_words = (complaints or lines or ["it left no word"])[-1].split("] ", 1)[-1]
    return StartFailed(last_words.strip().rstrip(".") + ".", log)


def _since(log: Path, logged_bytes: int) -> str:
    try:
        with log.open("rb") as words:
            words.seek(logged_bytes)
            return words.read(LOG_READ_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
