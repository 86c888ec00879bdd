"""A TCP proxy for Postgres that counts the client's messages and calls back at one of them.

A point is a piece of bytes as a client sent it: a statement, a commit, a part of a COPY. The
database cannot change between two points.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

PIECE_BYTES = 1 << 20
HEAD_BYTES = 5  # of a message: its type, and its length without the type
STATEMENTS = {b"Q", b"P"}  # a query, or a statement to be prepared after its name
OF_TRANSACTIONS = {"begin", "commit", "rollback", ""}
Moment = Literal["before", "after"]  # the server sees the piece, or it has answered it


class PostgresProxy:
    """Counts pieces over all connections; ``url`` leads through it."""

    def __init__(self, url: str, listener: socket.socket) -> None:
        self._target, self._listener = _socket_path(url), listener
        port = listener.getsockname()[1]
        database = urlsplit(url).path
        user = conninfo_to_dict(url).get("user") or "postgres"
        self.url = f"postgresql://{user}:x@127.0.0.1:{port}{database}?sslmode=disable"
        self._lock = threading.Lock()
        self._count = 0
        self._point: tuple[int, Moment, Callable[[], None]] | None = None

    @property
    def count(self) -> int:
        """Pieces passed since the last `arm`."""
        return self._count

    def arm(self, number: int, moment: Moment, act: Callable[[], None]) -> None:
        """Calls ``act`` once, before or after the ``number``-th piece from now.

        If it raises `OSError`, the connection is cut: after a piece, its answer is lost.
        """
        with self._lock:
            self._count, self._point = 0, (number, moment, act)

    def serve(self) -> None:
        """Passes connections on until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._target)
            back = threading.Thread(target=self._answer, args=(server, client), daemon=True)
            back.start()
            with suppress(OSError):
                while piece := client.recv(PIECE_BYTES):
                    if self._is_point("before"):
                        break  # the server never sees it
                    self.note(client, piece)
                    server.sendall(piece)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            back.join()

    def note(self, client: socket.socket, piece: bytes) -> None:
        """Is called with each piece of each client that the server will see."""

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while piece := server.recv(PIECE_BYTES):
                self._is_point("after")
                client.sendall(piece)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _is_point(self, moment: Moment) -> bool:
        """Whether the armed point is reached; then its act is done."""
        with self._lock:
            self._count += moment == "before"
            if self._point is None or self._point[1] != moment or self._count < self._point[0]:
                return False
            act, self._point = self._point[2], None
        act()
        return True


class StatementCounter(PostgresProxy):
    """Keeps the text of each statement, without those that begin or end a transaction.

    A prepared statement counts when it is parsed.
    """

    def __init__(self, url: str, listener: socket.socket) -> None:
        super().__init__(url, listener)
        self.statements: list[str] = []
        self._unread: dict[socket.socket, bytearray] = {}

    @property
    def connections(self) -> int:
        """Connections that were begun."""
        return len(self._unread)

    def forget(self) -> None:
        """Counts from now on."""
        self.statements.clear()
        self._unread.clear()

    def note(self, client: socket.socket, piece: bytes) -> None:
        """Takes the messages that are complete; the first of a connection has no type."""
        is_first = client not in self._unread
        unread = self._unread.setdefault(client, bytearray(b"\0" if is_first else b""))
        unread += piece
        while len(unread) >= HEAD_BYTES:
            size = 1 + int.from_bytes(unread[1:HEAD_BYTES], "big")
            if len(unread) < size:
                return
            kind, body = bytes(unread[:1]), bytes(unread[HEAD_BYTES:size])
            del unread[:size]
            if kind in STATEMENTS:
                text = body.split(b"\0")[kind == b"P"].decode()
                if text.split(" ")[0].strip(";").lower() not in OF_TRANSACTIONS:
                    self.statements.append(text)


Proxy = TypeVar("Proxy", bound=PostgresProxy)


def postgres_proxy(url: str) -> AbstractContextManager[PostgresProxy]:
    """A proxy before the server that ``url`` reaches by its socket."""
    return _serving(url, PostgresProxy)


def statement_counter(url: str) -> AbstractContextManager[StatementCounter]:
    """A proxy that keeps the statements which pass through it."""
    return _serving(url, StatementCounter)


@contextmanager
def _serving(url: str, kind: type[Proxy]) -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = kind(url, listener)
        threading.Thread(target=proxy.serve, daemon=True).start()
        try:
            yield proxy
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _socket_path(url: str) -> str:
    facts = conninfo_to_dict(url)
    return f"{facts['host']}/.s.PGSQL.{facts.get('port') or 5432}"
