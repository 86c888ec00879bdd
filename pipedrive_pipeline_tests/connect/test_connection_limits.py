"""Sockets that hold a server's connections without sending a whole request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from select import select
from socket import create_connection, socket
from urllib.parse import urlsplit

import httpx
import pytest

from pipedrive_pipeline.connect.http_protocol import (
    CONNECTIONS_MAX,
    CONNECTIONS_OF_ADDRESS_MAX,
    LimitedHttp,
)
from pipedrive_pipeline.connect.middleware import HEAD_MAX_BYTES
from pipedrive_pipeline_tests.connect.browser import ConnectSite, served

PATIENCE_SECONDS = 60


@contextmanager
def sockets(site: ConnectSite, count: int) -> Iterator[list[socket]]:
    """As many open connections that have sent nothing."""
    address = urlsplit(site.url)
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                create_connection((address.hostname or "", address.port or 0), PATIENCE_SECONDS)
            )
            for _ in range(count)
        ]


def answer(connection: socket) -> tuple[int, dict[str, object]]:
    """Status and JSON body of the answer; the server closes the connection after it."""
    received = b""
    while part := connection.recv(65_536):
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


def code(body: dict[str, object]) -> object:
    error = body["error"]
    assert isinstance(error, dict)
    return error["code"]


@pytest.mark.parametrize("count", [CONNECTIONS_OF_ADDRESS_MAX + 5, CONNECTIONS_MAX + 55])
def test_idle_connections_keep_nobody_out(site: ConnectSite, count: int) -> None:
    """205 idle connections once ended the service for all: each new request was answered 503."""
    with sockets(site, count):
        statuses = [httpx.get(f"{site.url}/healthz").status_code for _ in range(3)]

    assert statuses == [200, 200, 200]


def test_a_busy_connection_is_not_closed_for_a_new_one(site: ConnectSite) -> None:
    """Only a connection without a request gives its place."""
    with site.client() as client, sockets(site, CONNECTIONS_OF_ADDRESS_MAX - 1) as first:
        half = first[0]
        half.sendall(b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{")
        assert client.get("/healthz").status_code == 200  # the server has read the head above
        with sockets(site, 5):
            assert client.get("/healthz").status_code == 200
            half.sendall(b"}")
            half.settimeout(PATIENCE_SECONDS)
            status = half.recv(65_536).split(b" ")[1]

    assert status in {b"401", b"403", b"422", b"400"}


class HastyHttp(LimitedHttp):
    """The same protocol with less patience."""

    head_seconds = 0.5


@pytest.mark.slow
def test_a_head_that_never_ends_is_refused_in_time(site: ConnectSite) -> None:
    """A byte now and then does not renew the time."""
    with served(site.world, http=HastyHttp) as hasty, sockets(hasty, 2) as (silent, slow):
        slow.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
        for _ in range(8):
            select([slow], [], [], 0.05)
            slow.sendall(b"x")
        answers = [answer(silent), answer(slow)]

    assert [(status, code(body)) for status, body in answers] == [(408, "too_slow")] * 2


def test_a_large_head_is_refused_however_it_arrives(site: ConnectSite) -> None:
    """At once or in parts, in one header or in many, or in the address."""
    head = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    large = b"x-large: " + b"y" * (HEAD_MAX_BYTES + 100)
    many = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 500) for number in range(60))
    target = b"GET /healthz?" + b"y" * (HEAD_MAX_BYTES + 100) + b" HTTP/1.1\r\nhost: x\r\n"
    found = []
    for data in (
        head + large + b"\r\n\r\n",
        head + large,
        head + many + b"\r\n",
        target + b"connection: close\r\n\r\n",
    ):
        with sockets(site, 1) as (connection,):
            connection.sendall(data)
            status, body = answer(connection)
            found.append((status, code(body)))

    assert found == [(431, "head_too_large")] * 4


def test_bytes_that_are_no_request_get_our_envelope(site: ConnectSite) -> None:
    with sockets(site, 1) as (connection,):
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        status, body = answer(connection)

    assert (status, code(body)) == (400, "bad_request")
    assert set(body) == {"error", "meta"}
