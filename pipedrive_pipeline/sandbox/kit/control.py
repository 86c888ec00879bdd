"""The control routes under ``/_sandbox``, for tests in other languages and the page's buttons.

They exist only when a sandbox was started with control. Every listing is one JSON object a line.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from pipedrive_pipeline.sandbox.kit.answers import JSON, encode
from pipedrive_pipeline.sandbox.kit.running import Interface, RunningSandbox

LINES = "application/x-ndjson"
LINES_A_CHUNK = 200


def routes(sandbox: RunningSandbox, interface: Interface) -> list[Route]:
    """The control routes of one look-alike."""
    commands = [
        Route(f"/_sandbox/{name}", _command(sandbox, messages), methods=["POST"])
        for name, messages in interface.commands.items()
    ]
    return [
        *commands,
        Route("/_sandbox/requests", functools.partial(_requests, sandbox)),
        Route("/_sandbox/history", functools.partial(_history, sandbox)),
        Route("/_sandbox/deliveries", functools.partial(_deliveries, sandbox)),
        Route("/_sandbox/records/{entity}", functools.partial(_records, sandbox, interface)),
    ]


def _command(sandbox: RunningSandbox, messages: Any) -> Callable[[Request], Awaitable[Response]]:
    decoder = msgspec.json.Decoder(messages)

    async def answer(request: Request) -> Response:
        # A page of another site can post a form here, but not JSON.
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _refused(415, "the body must be application/json")
        try:
            command = decoder.decode(await request.body())
            # In a thread, because an uninstall notice may call this same server.
            result = await run_in_threadpool(command.run, sandbox)
        except (msgspec.MsgspecError, ValueError, LookupError) as error:
            return _refused(400, str(error))
        return _json({"result": result, "history": len(sandbox.service.world.history)})

    return answer


async def _requests(sandbox: RunningSandbox, request: Request) -> Response:
    since = _number(request, "since")
    return _lines(sandbox.requests.since(since or 0))


async def _history(sandbox: RunningSandbox, request: Request) -> Response:
    after = _number(request, "after")
    return _lines(sandbox.service.world.history.after(after or 0))


async def _deliveries(sandbox: RunningSandbox, request: Request) -> Response:
    try:
        return _lines(sandbox.webhooks.deliveries(_number(request, "since") or 0))
    except LookupError as error:
        return _refused(404, str(error.args[0]))


async def _records(sandbox: RunningSandbox, interface: Interface, request: Request) -> Response:
    entity, query = request.path_params["entity"], dict(request.query_params)
    try:
        return _lines(interface.records(sandbox, entity, query))
    except LookupError as error:
        return _refused(404, str(error.args[0]))


def _number(request: Request, name: str) -> int | None:
    return number(request.query_params.get(name, ""))


def number(text: str) -> int | None:
    """The number in a query parameter, None if it is none."""
    return int(text) if text.isascii() and text.isdigit() else None


def _lines(rows: Iterable[Any]) -> Response:
    def chunks() -> Iterator[bytes]:
        waiting: list[bytes] = []
        for row in rows:
            waiting.append(encode(row) + b"\n")
            if len(waiting) == LINES_A_CHUNK:
                yield b"".join(waiting)
                waiting.clear()
        yield b"".join(waiting)

    return StreamingResponse(chunks(), media_type=LINES)


def _json(content: Any, status: int = 200) -> Response:
    return Response(encode(content), status, media_type=JSON)


def _refused(status: int, error: str) -> Response:
    return _json({"error": error}, status)
