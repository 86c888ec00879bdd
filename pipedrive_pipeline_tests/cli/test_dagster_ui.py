"""No other web page can command Dagster's UI through the operator's browser."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from pipedrive_pipeline.cli.dagster_ui import BrowserGuard, trusted_hosts
from pipedrive_pipeline.settings import Settings

HOSTS = frozenset({"127.0.0.1:3000", "dagster.acme.example"})
OWN = "http://127.0.0.1:3000"
JSON = {"content-type": "application/json"}
MUTATION = '{"query": "mutation { terminateRun(runId: 1) { __typename } }"}'
VISIT = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


async def executed(scope: Any, receive: Any, send: Any) -> None:
    """A minimal Dagster: it carries out every request that reaches it."""
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


def answer(
    method: str, path: str, headers: dict[str, str], base: str = OWN, body: str | None = None
) -> httpx.Response:
    async def sent() -> httpx.Response:
        transport = httpx.ASGITransport(app=BrowserGuard(executed, HOSTS))
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await client.request(method, path, headers=headers, content=body)

    return asyncio.run(sent())


@pytest.mark.parametrize(
    ("method", "path", "headers", "base"),
    [
        ("GET", "/graphql?query=mutation{x}", {}, OWN),
        ("GET", "/graphql?query=mutation{x}", VISIT, OWN),
        ("POST", "/graphql", {"content-type": "text/plain"}, OWN),
        ("POST", "/graphql", {"content-type": "application/x-www-form-urlencoded"}, OWN),
        ("POST", "/graphql", {"content-type": "multipart/form-data; boundary=x"}, OWN),
        ("POST", "/graphql", {}, OWN),
        ("POST", "/graphql", JSON | {"origin": "https://evil.example"}, OWN),
        ("POST", "/graphql", JSON | {"origin": "null"}, OWN),
        ("POST", "/graphql", JSON | {"sec-fetch-site": "cross-site"}, OWN),
        ("POST", "/graphql", JSON | {"sec-fetch-site": "same-site"}, OWN),
        ("POST", "/graphql", JSON, "http://rebound.evil.example:3000"),
        ("POST", "/graphql", JSON, "http://127.0.0.1:9999"),
        ("POST", "/graphql/", {"content-type": "text/plain"}, OWN),
        ("GET", "/download_debug/1", {"sec-fetch-site": "cross-site"}, OWN),
    ],
)
def test_what_another_site_can_send_is_refused(
    method: str, path: str, headers: dict[str, str], base: str
) -> None:
    """Each of these was executed by the bare server."""
    result = answer(method, path, headers, base, MUTATION if method == "POST" else None)

    assert result.status_code == 403
    assert "done" not in result.text


@pytest.mark.parametrize(
    ("method", "path", "headers", "base"),
    [
        ("POST", "/graphql", JSON, OWN),  # a script
        ("POST", "/graphql", JSON | {"origin": OWN, "sec-fetch-site": "same-origin"}, OWN),
        ("POST", "/graphql", JSON | {"content-type": "application/json; charset=utf-8"}, OWN),
        ("POST", "/graphql", JSON, "https://dagster.acme.example"),
        ("GET", "/runs/1", VISIT, OWN),  # a link in an alert
        ("GET", "/", {"sec-fetch-site": "none"}, OWN),
        ("GET", "/graphql", {"accept": "text/html"}, OWN),  # the page to try queries on
    ],
)
def test_what_the_ui_and_scripts_send_passes_and_cannot_be_framed(
    method: str, path: str, headers: dict[str, str], base: str
) -> None:
    result = answer(method, path, headers, base, MUTATION if method == "POST" else None)

    assert (result.status_code, result.text) == (200, "done")
    assert result.headers["x-frame-options"] == "DENY"
    assert result.headers["content-security-policy"] == "frame-ancestors 'none'"


def test_a_web_socket_of_another_site_is_closed() -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    headers = [(b"host", b"127.0.0.1:3000"), (b"origin", b"https://evil.example")]
    scope = {"type": "websocket", "path": "/graphql", "headers": headers, "query_string": b""}
    asyncio.run(BrowserGuard(executed, HOSTS)(scope, receive, send))

    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_the_hosts_are_loopback_and_the_address_that_people_use() -> None:
    settings = Settings.model_validate(
        {"dagster_port": 3001, "dagster_url": "https://dagster.acme.example/"}
    )

    assert trusted_hosts(settings) == {
        *("127.0.0.1:3001", "localhost:3001", "[::1]:3001", "dagster.acme.example")
    }
