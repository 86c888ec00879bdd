"""ASGI middleware around all routes: request ids, limits of the body, strict headers.

Source: OWASP's ASVS 5.0, chapter 3.4, and https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipedrive_pipeline.connect.errors import error_body

HEAD_MAX_BYTES = 16 * 1024  # request line and headers; browsers send 1 to 4 kB
BODY_MAX_BYTES = 256 * 1024  # a mapping of a thousand fields has 100 kB
BODY_SECONDS = 10.0  # for the whole body, so that a slow client holds no connection
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",  # one vendored file, htmx
        "connect-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
STRICT_HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
HSTS = {"strict-transport-security": "max-age=31536000; includeSubDomains"}
# Addresses of static files change with their content (`rendering.static_address`).
IMMUTABLE = (b"cache-control", b"public, max-age=31536000, immutable")
Headers = list[tuple[bytes, bytes]]
# As the server sends them: setting eight by name takes a tenth of an answer's time.
STRICT: Headers = [(name.encode(), value.encode()) for name, value in STRICT_HEADERS.items()]
STRICT_OF_HTTPS: Headers = [
    *STRICT,
    *((name.encode(), value.encode()) for name, value in HSTS.items()),
]
OURS = {b"x-request-id", *(name for name, _ in STRICT_OF_HTTPS)}


@dataclass
class StrictHttp:
    """Gives each request an id, reads its bounded body, and sets strict headers on its answer."""

    app: ASGIApp
    is_https: bool
    on_unexpected: Callable[[Request, Exception], Response]
    body_seconds: float = BODY_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, is_started = secrets.token_hex(8), False
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_strictly(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                message["headers"] = _strict(
                    message["headers"],
                    request_id,
                    is_https=self.is_https,
                    is_immutable=_is_versioned_file(scope) and message["status"] == 200,
                )
            await send(message)

        if _head_bytes(scope) > HEAD_MAX_BYTES:
            refusal = _refusal(
                request_id, 431, "head_too_large", "The request line and headers are too large."
            )
            await refusal(scope, receive, send_strictly)
            return
        try:
            async with asyncio.timeout(self.body_seconds):
                body = await _bounded(receive)
        except TimeoutError:
            refusal = _refusal(request_id, 408, "too_slow", "The body took too long to arrive.")
            await refusal(scope, receive, send_strictly)
            return
        if body is None:
            refusal = _refusal(request_id, 413, "too_large", "The body is too large.")
            await refusal(scope, receive, send_strictly)
            return
        try:
            await self.app(scope, _replayed(body, receive), send_strictly)
        except Exception as error:  # noqa: BLE001 - the last border: every error gets an answer
            if not is_started:
                answer = self.on_unexpected(Request(scope), error)
                await answer(scope, receive, send_strictly)


def _head_bytes(scope: Scope) -> int:
    """The size of a head that arrived at once; the protocol bounds one that arrives in parts."""
    headers: Headers = scope["headers"]
    return (
        len(scope.get("path", ""))
        + len(scope.get("query_string", b""))
        + sum(len(name) + len(value) + 4 for name, value in headers)
    )


def _is_versioned_file(scope: Scope) -> bool:
    path: str = scope["path"]
    query: bytes = scope["query_string"]
    return path.startswith("/static/") and query.startswith(b"v=")


def _strict(headers: Headers, request_id: str, *, is_https: bool, is_immutable: bool) -> Headers:
    """An answer's headers, with ours instead of any with the same name."""
    others = [header for header in headers if header[0].lower() not in OURS]
    ours = STRICT_OF_HTTPS if is_https else STRICT
    if is_immutable:
        ours = [*(header for header in ours if header[0] != IMMUTABLE[0]), IMMUTABLE]
    return [*others, (b"x-request-id", request_id.encode()), *ours]


def _refusal(request_id: str, status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse(error_body(request_id, code, message), status_code=status)


async def _bounded(receive: Receive) -> bytes | None:
    """The whole body; None if it is larger than the limit."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > BODY_MAX_BYTES:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Receives the body that was read already, then the connection's next messages."""
    is_sent = False

    async def receive_again() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
