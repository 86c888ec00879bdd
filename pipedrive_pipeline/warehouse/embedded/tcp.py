"""The server's TCP port for other programs: loopback only, with a password."""

from __future__ import annotations

import errno
import secrets
import socket

import psutil
from psycopg import sql

from pipedrive_pipeline.warehouse.embedded.errors import PortTaken
from pipedrive_pipeline.warehouse.embedded.paths import DATABASE, SUPERUSER, ServerPaths
from pipedrive_pipeline.warehouse.embedded.postmaster import connected

LOOPBACK = "127.0.0.1"


def listens(paths: ServerPaths, port: int) -> bool:
    """True if the running server of ``paths`` has this port open."""
    with connected(paths) as connection:
        row = connection.execute(
            "select current_setting('listen_addresses'), current_setting('port')"
        ).fetchone()
    return row == (LOOPBACK, str(port))


def other_connection_count(paths: ServerPaths) -> int:
    """The number of connections, except ours, that a restart would cut off."""
    with connected(paths) as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity"
            # By name: an earlier connection of this process may just be closing.
            " where backend_type = 'client backend'"
            " and application_name <> current_setting('application_name')"
        ).fetchone()
    return int(str(row[0])) if row else 0


def refuse_taken(port: int) -> None:
    """Return if the port can be opened.

    Raises:
        PortTaken: by whom, as far as this account may see.
    """
    if not 0 < port < 65_536:
        raise PortTaken(port, "a port is a number from 1 to 65535")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Postgres does
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise PortTaken(port, _holder(port) if taken else str(error.strerror)) from error


def url(paths: ServerPaths, port: int) -> str:
    """The database through the port, password included."""
    password = paths.password.read_text()
    return f"postgresql://{SUPERUSER}:{password}@{LOOPBACK}:{port}/{DATABASE}"


def has_password(paths: ServerPaths) -> bool:
    """True if the superuser of this database has a password."""
    return paths.password.exists()


def set_password(paths: ServerPaths) -> None:
    """Give the superuser a new password, kept in the home with mode 0600. Needs the start lock."""
    password = secrets.token_urlsafe(24)
    with connected(paths) as connection:
        # The verifier is sent, not the password: it appears in no statement.
        verifier = connection.pgconn.encrypt_password(
            password.encode(), SUPERUSER.encode(), b"scram-sha-256"
        ).decode()
        connection.execute(
            sql.SQL("alter role {} password {}").format(sql.Identifier(SUPERUSER), verifier)
        )
    draft = paths.password.with_name("password.new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(password)
    draft.rename(paths.password)


def _holder(port: int) -> str:
    unseen = "another program listens on it"
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return unseen
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.pid:
            try:
                name = psutil.Process(connection.pid).name()
            except psutil.Error:
                return unseen
            return f"{name} (process {connection.pid}) listens on it"
    return unseen
