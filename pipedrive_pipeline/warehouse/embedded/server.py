"""The public functions of the embedded server: `ensure_running` and what it returns."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipedrive_pipeline.warehouse.embedded import binaries, cluster, paths, postmaster, tcp
from pipedrive_pipeline.warehouse.embedded.errors import (
    PortNeedsRestart,
    ServerSilent,
    named_for,
)
from pipedrive_pipeline.warehouse.embedded.locks import Unavailable, hold
from pipedrive_pipeline.warehouse.embedded.os_account import OsAccount, account_for
from pipedrive_pipeline.warehouse.embedded.paths import ServerPaths

SYSTEM_FOLDER = Path("/var/lib/pipedrive-pipeline")  # for root, whose home may be closed to others
START_SECONDS = 180.0  # another command may be making the database on a slow disk

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddedServer:
    """A running Postgres. ``tcp_url`` is set if a port was requested; it contains a password."""

    paths: ServerPaths = field(repr=False)
    url: str
    tcp_url: str | None = field(repr=False)
    data_dir: Path
    psql: Path | None

    @property
    def pid(self) -> int:
        """The server's process id, as the server reports it."""
        return postmaster.pid_of(self.paths)

    def stop(self) -> None:
        """End the server; open transactions are rolled back. Nothing happens if it has ended."""
        with named_for(self.paths.home), _alone(self.paths.home):
            postmaster.stop(self.paths)


def ensure_running(
    home: Path, *, tcp_port: int | None = None, system_folder: Path = SYSTEM_FOLDER
) -> EmbeddedServer:
    """The running server of ``home``, started or made first if need be.

    Args:
        home: PIPELINE_HOME; created if absent.
        tcp_port: a port on 127.0.0.1 to open; ``None`` opens none and closes none.
        system_folder: where root keeps what an unprivileged account cannot reach below ``home``.

    Raises:
        HomeUnusable, ServerDiskFull, StartFailed, PortTaken: a person must act.
        PortNeedsRestart, ServerSilent: nobody need act; run again later.
    """
    home = home.expanduser().resolve()
    with named_for(home):
        server_paths = paths.known(home)
        if server_paths is None or not _is_ready(server_paths, tcp_port):
            _make_folders(home)
            with _alone(home):
                server_paths = _brought_up(home, tcp_port, system_folder)
        return _server_at(server_paths, tcp_port)


def running_server(home: Path) -> EmbeddedServer | None:
    """The server of ``home`` if it runs already; nothing is started."""
    home = home.expanduser().resolve()
    with named_for(home):
        server_paths = paths.known(home)
        return (
            _server_at(server_paths, None)
            if server_paths and _is_ready(server_paths, None)
            else None
        )


def _is_ready(server_paths: ServerPaths, tcp_port: int | None) -> bool:
    if postmaster.is_moved(server_paths):
        return False
    if not (paths.is_tied(server_paths) and postmaster.answers(server_paths)):
        return False
    return tcp_port is None or (
        tcp.has_password(server_paths) and tcp.listens(server_paths, tcp_port)
    )


def _brought_up(home: Path, tcp_port: int | None, system_folder: Path) -> ServerPaths:
    before = paths.known(home)
    account = account_for((before.base if before else home) / "data")
    server_paths = paths.laid_out(home, account, system_folder)
    postmaster.end_if_moved(server_paths)
    if not postmaster.answers(server_paths):
        _end_former_servers(server_paths)
        _start(server_paths, account, system_folder, tcp_port)
    if tcp_port is not None and not tcp.listens(server_paths, tcp_port):
        tcp.refuse_taken(tcp_port)
        if connection_count := tcp.other_connection_count(server_paths):
            raise PortNeedsRestart(tcp_port, connection_count)
        log.info("Postgres is restarted to open port %s", tcp_port)
        postmaster.stop(server_paths)
        _start(server_paths, account, system_folder, tcp_port)
    if tcp_port is not None and not tcp.has_password(server_paths):
        tcp.set_password(server_paths)
    return server_paths


def _start(
    server_paths: ServerPaths, account: OsAccount, system_folder: Path, tcp_port: int | None
) -> None:
    if tcp_port is not None:
        tcp.refuse_taken(tcp_port)
    programs = binaries.within_reach(account, system_folder)
    logged_bytes = postmaster.log_kept_in_check(server_paths.log)
    postmaster.end_if_cut_off(server_paths)
    wait = postmaster.ANSWER_SECONDS
    try:
        with hold(
            server_paths.server_lock, within_seconds=wait, unless=_answering(server_paths)
        ) as lock:
            if not server_paths.data.exists():
                postmaster.end_removed(server_paths)
                log.info("making the database in %s", server_paths.data)
                cluster.create(server_paths, account, programs, lock)
            account.own(server_paths.socket)
            cluster.configure(server_paths, tcp_port)
            postmaster.launch(server_paths, account, programs, port=tcp_port, lock=lock)
    except Unavailable:  # a server whose starter was killed: it answers by now, or never will
        log.info("Postgres was already starting")
    postmaster.await_answer(server_paths, port=tcp_port, logged_bytes=logged_bytes)


def _answering(server_paths: ServerPaths) -> Callable[[], bool]:
    return lambda: postmaster.answers(server_paths)


def _end_former_servers(server_paths: ServerPaths) -> None:
    """End servers in the system folder whose home was removed; their files are left alone."""
    if server_paths.data.exists() or server_paths.base == paths.note_folder(server_paths.home):
        return
    for former in paths.former_servers(server_paths):
        postmaster.stop(former)
        log.warning(
            "%s holds the database of a removed %s; delete it", former.base, server_paths.home
        )


def _server_at(server_paths: ServerPaths, tcp_port: int | None) -> EmbeddedServer:
    return EmbeddedServer(
        paths=server_paths,
        url=server_paths.url,
        tcp_url=None if tcp_port is None else tcp.url(server_paths, tcp_port),
        data_dir=server_paths.data,
        psql=binaries.of_the_wheel().psql,
    )


def _make_folders(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    notes = paths.note_folder(home)
    try:
        # Root's may be passed through, by the account that owns the data below it.
        notes.mkdir(mode=0o700)
        if os.geteuid() == 0:
            notes.chmod(0o711)
    except FileExistsError:
        pass


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    lock = paths.start_lock(home)
    try:
        with hold(lock, within_seconds=START_SECONDS):
            yield
    except Unavailable:
        raise ServerSilent(START_SECONDS, lock, paths.note_folder(home)) from None
