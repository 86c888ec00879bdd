"""A TCP proxy for Postgres that counts the client's messages and calls back at one of them.

A point is a piece of bytes as a client sent it: a statement, a commit, a part of a COPY. The
database cannot change between two points.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

PIECE_BYTES = 1 << 20
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
                    server.sendall(piece)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            back.join()

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


@contextmanager
def postgres_proxy(url: str) -> Iterator[PostgresProxy]:
    """A proxy before the server that ``url`` reaches by its socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = PostgresProxy(url, listener)
        threading.Thread(target=proxy.serve, daemon=True).start()
        try:
            yield proxy
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _socket_path(url: str) -> str:
    facts = conninfo_to_dict(url)
    return f"{facts['host']}/.s.PGSQL.{facts.get('port') or 5432}"
