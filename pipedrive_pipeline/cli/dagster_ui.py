"""`serve-dagster`: Dagster's UI with a guard against commands from other web pages.

Dagster's own server executes a mutation for any page that is open in the operator's browser: by a
GET, by a form without a preflight, or under a name of the attacker's that resolves to this machine.
The guard is an ASGI middleware in the same process, so that no request can bypass it.

Everyone who reaches the port may use the UI. Put a proxy with a sign-in in front of it where
others can reach it.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import typer

from pipedrive_pipeline.settings import Settings, load_settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

GRAPHQL_PATH = "/graphql"
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
# A page that another site frames would lend it the operator's clicks.
NO_FRAMING = [
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
]


def serve_dagster(context: typer.Context) -> None:
    """Serve the Dagster UI behind the guard; further words go to dagster-webserver."""
    from dagster_webserver import app, cli
    from dagster_webserver.webserver import DagsterWebserver
    from starlette.middleware import Middleware

    hosts = trusted_hosts(load_settings())

    class GuardedWebserver(DagsterWebserver):  # type: ignore[type-arg]
        """Dagster's web server, with the guard before everything else."""

        def build_middleware(self) -> list[Middleware]:
            return [Middleware(BrowserGuard, hosts=hosts), *super().build_middleware()]

    setattr(app, "DagsterWebserver", GuardedWebserver)  # noqa: B010 - no option takes a middleware
    sys.argv = ["dagster-webserver", *context.args]
    cli.main()  # type: ignore[no-untyped-call]


def trusted_hosts(settings: Settings) -> frozenset[str]:
    """The `Host` headers by which the UI is reached: loopback names, and `DAGSTER_URL`'s."""
    hosts = {f"{name}:{settings.dagster_port}" for name in LOOPBACK_NAMES}
    if settings.dagster_url:
        hosts.add(urlsplit(str(settings.dagster_url)).netloc.lower())
    return frozenset(hosts)


class BrowserGuard:
    """Refuses requests that a browser sends for another site; other programs pass."""

    def __init__(self, app: App, hosts: frozenset[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it with 403."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, _without_framing(send))
        elif scope["type"] == "websocket":
            await receive()  # the handshake, which may be refused only after it has come
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8"), *NO_FRAMING]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": f"refused: {refusal}\n".encode()})

    def _refusal(self, scope: Message) -> str | None:
        """The reason to refuse a request; None if it is allowed."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if headers.get("host", "").lower() not in self._hosts:
            return "this name is not the UI's; set DAGSTER_URL to the address that you use"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() not in self._hosts:
            return "another site sent this"
        if headers.get("sec-fetch-site") in {"cross-site", "same-site"} and not _is_visit(
            scope, headers
        ):
            return "another site sent this"
        if scope["path"].rstrip("/").endswith(GRAPHQL_PATH) and scope["type"] == "http":
            return _refusal_of_query(scope, headers)
        return None


def _is_visit(scope: Message, headers: dict[str, str]) -> bool:
    """True for a link that a person follows from another site, such as an alert's."""
    is_document = headers.get("sec-fetch-dest") == "document"
    is_get = scope.get("method") == "GET"
    return is_get and is_document and headers.get("sec-fetch-mode") == "navigate"


def _refusal_of_query(scope: Message, headers: dict[str, str]) -> str | None:
    """The reason to refuse a GraphQL request: another site could send its form; None if allowed."""
    if scope["method"] in {"GET", "HEAD"}:
        has_query = "query" in parse_qs(scope["query_string"].decode("latin-1"))
        return "send queries by POST" if has_query else None
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if scope["method"] == "POST" and media_type != "application/json":
        return "send queries as application/json"
    return None


def _without_framing(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *NO_FRAMING]}
        await send(message)

    return guarded
