"""Launches, probes, awaits and stops the server process.

A server is ready if it answers on its socket, and alive if its lock is taken. The number in
postmaster.pid proves nothing and is never signalled.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import psycopg
from psycopg import pq

from pipedrive_pipeline.warehouse.embedded.binaries import Binaries
from pipedrive_pipeline.warehouse.embedded.errors import (
    ServerSilent,
    StartFailed,
    failed_start,
)
from pipedrive_pipeline.warehouse.embedded.locks import POLL_SECONDS, Unavailable, hold, is_free
from pipedrive_pipeline.warehouse.embedded.os_account import OsAccount
from pipedrive_pipeline.warehouse.embedded.paths import SOCKET_PORT, SUPERUSER, ServerPaths

ANSWER_SECONDS = 120.0  # recovery after a power cut replays up to 1 GB
STOP_SECONDS = 60.0
PING_SECONDS = 3
PID_FILE_LINES = 8  # the last one is the server's state
LOG_BYTES = 10 * 1024**2  # then a new log is begun and the last one is kept

# The shell ends at once, so that the server has no parent of ours to die with or to wait for it.
DETACHED = '"$@" >&2 &'


def answers(paths: ServerPaths) -> bool:
    """True if the server of ``paths`` accepts connections now."""
    return _ping(paths) == pq.Ping.OK


def launch(
    paths: ServerPaths, account: OsAccount, binaries: Binaries, *, port: int | None, lock: int
) -> None:
    """Start the server in a session of its own; it inherits ``lock``, the server's lock."""
    _forget_dead_server(paths)
    _name_socket(paths, port)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with os.fdopen(os.open(paths.log, flags, 0o600), "wb") as log:
        server: list[str | Path] = [
            binaries.postgres,
            "-D",
            paths.data,
            "-c",
            f"config_file={paths.configuration}",
        ]
        account.run(
            ["/bin/sh", "-c", DETACHED, "sh", *server],
            folder=paths.data,
            complaints=log,
            inherits=[lock],
        )


def await_answer(paths: ServerPaths, *, port: int | None, logged_bytes: int) -> None:
    """Wait until the server answers. ``logged_bytes`` is how long the log was before this start.

    Raises:
        StartFailed, PortTaken, ServerDiskFull: it died; its log says why.
        ServerSilent: it lives but does not answer; run again.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while not answers(paths):
        if is_free(paths.server_lock):
            raise failed_start(paths.log, paths.base, port, logged_bytes)
        if time.monotonic() > deadline:
            raise ServerSilent(ANSWER_SECONDS, paths.socket, paths.log)
        time.sleep(POLL_SECONDS)


def pid_of(paths: ServerPaths) -> int:
    """The process id of the server that answers: the parent of the process that serves us."""
    with connected(paths) as connection:
        parent = psutil.Process(connection.info.backend_pid).ppid()
    return int(parent)


def stop(paths: ServerPaths) -> None:
    """End the server: open transactions are rolled back, files are left clean.

    Raises:
        ServerSilent: it did not end in time.
    """
    if not answers(paths):
        return
    os.kill(pid_of(paths), signal.SIGINT)  # Postgres's "fast shutdown"
    _await_end(paths)


def _await_end(paths: ServerPaths) -> None:
    try:
        with hold(paths.server_lock, within_seconds=STOP_SECONDS):
            return
    except Unavailable:
        raise ServerSilent(STOP_SECONDS, paths.socket, paths.log) from None


def connected(paths: ServerPaths) -> psycopg.Connection[tuple[object, ...]]:
    """A connection of the superuser, each statement on its own, named after this process."""
    return psycopg.connect(
        paths.url,
        autocommit=True,
        connect_timeout=PING_SECONDS,
        application_name=f"embedded-postgres/{os.getpid()}",
    )


def log_kept_in_check(log: Path) -> int:
    """Rotates a log that is too long; returns the length of the current log in bytes.

    Needs the start lock and no server running.
    """
    try:
        length = log.stat().st_size
    except FileNotFoundError:
        return 0
    if length <= LOG_BYTES:
        return length
    log.replace(log.with_name(f"{log.name}.1"))
    return 0


def _ping(paths: ServerPaths) -> pq.Ping:
    facts = {
        "host": str(paths.socket),
        "hostaddr": "",  # else PGHOSTADDR would lead elsewhere
        "port": str(SOCKET_PORT),
        "user": SUPERUSER,
        "dbname": "postgres",
        "connect_timeout": str(PING_SECONDS),
    }
    return pq.Ping(pq.PGconn.ping(psycopg.conninfo.make_conninfo(**facts).encode()))


def end_if_cut_off(paths: ServerPaths) -> None:
    """Ends a server whose socket was removed: no client can reach it."""
    if (paths.socket / f".s.PGSQL.{SOCKET_PORT}").exists() or is_free(paths.server_lock):
        return
    lines = _pid_file_lines(paths)
    # While it starts or stops, a missing socket is no news.
    if len(lines) == PID_FILE_LINES and lines[-1].strip() == "ready":
        number = int(lines[0])
        if _works_in(paths.data, number):
            os.kill(number, signal.SIGINT)


def is_moved(paths: ServerPaths) -> bool:
    """True if the data folder was renamed under its server, which looks for files by their path."""
    lines = _pid_file_lines(paths)
    return len(lines) > 1 and not Path(lines[1]).exists()


def end_if_moved(paths: ServerPaths) -> None:
    """Ends a server whose data folder was renamed, and waits until it has ended.

    Raises:
        ServerSilent: it did not end in time.
    """
    if not is_moved(paths) or is_free(paths.server_lock):
        return
    number = int(_pid_file_lines(paths)[0])
    if _works_in(paths.data, number):
        os.kill(number, signal.SIGQUIT)  # it could not write its last checkpoint; the log has all
        _await_end(paths)


def _pid_file_lines(paths: ServerPaths) -> list[str]:
    """Process id and data folder are the first two; none if no server was left or runs."""
    try:
        return (paths.data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def end_removed(paths: ServerPaths) -> None:
    """Ends a server whose data folder was removed under it.

    It unlinks its socket by name when it ends: by then that may be the socket of the next server.
    Needs ``paths.data`` to be absent, and waits until the server has ended.
    """
    inside = {process.pid: process for process in psutil.process_iter() if _sits_in(paths, process)}
    servers = [process for process in inside.values() if process.ppid() not in inside]
    for server in servers:
        server.send_signal(signal.SIGQUIT)  # there are no files left to leave clean
    _, alive = psutil.wait_procs(servers, timeout=STOP_SECONDS)
    if alive:
        raise ServerSilent(STOP_SECONDS, paths.socket, paths.log)


def _sits_in(paths: ServerPaths, process: psutil.Process) -> bool:
    try:
        return bool(process.name() == "postgres" and process.cwd() == str(paths.data))
    except psutil.Error:
        return False


def _name_socket(paths: ServerPaths, port: int | None) -> None:
    """Keeps the socket's name, and so the URL, independent of the TCP port."""
    if port in (None, SOCKET_PORT):
        return
    name = paths.socket / f".s.PGSQL.{SOCKET_PORT}"
    name.unlink(missing_ok=True)
    name.symlink_to(f".s.PGSQL.{port}")


def _forget_dead_server(paths: ServerPaths) -> None:
    """Removes the pid file, the sockets and their locks of a server that no longer runs.

    Needs the server's lock: none of our servers lives. Postgres itself would believe a number that
    another process of the same account has by now, or a dead one that no parent has buried.
    """
    pid_file = paths.data / "postmaster.pid"
    words = pid_file.read_text().split() if pid_file.exists() else []
    if words and words[0].isdecimal() and _works_in(paths.data, int(words[0])):
        # Started by hand, without our lock.
        raise StartFailed(f"process {words[0]} already serves {paths.data}; stop it.", paths.log)
    for left in (pid_file, *paths.socket.glob(".s.PGSQL.*")):
        left.unlink(missing_ok=True)


def _works_in(data: Path, number: int) -> bool:
    # A postmaster's working folder is its data directory. Another user's process hides its own.
    try:
        return data.samefile(psutil.Process(number).cwd())
    except (psutil.Error, OSError):
        return False
