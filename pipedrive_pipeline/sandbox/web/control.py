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

from pipedrive_pipeline.sandbox.running import Sandbox
from pipedrive_pipeline.sandbox.web import commands, edits
from pipedrive_pipeline.sandbox.web.answers import JSON
from pipedrive_pipeline.sandbox.world.entities import ENTITIES

LINES = "application/x-ndjson"
LINES_A_CHUNK = 200
COMMANDS: dict[str, Any] = {
    "edit": edits.EditCommand,
    "faults": commands.QueueFault,
    "clock": commands.SetClock,
    "grants": commands.GrantCommand,
}
_encode = msgspec.json.Encoder().encode


def routes(sandbox: Sandbox) -> list[Route]:
    """The control routes of one sandbox."""
    commands = [
        Route(f"/_sandbox/{name}", _command(sandbox, messages), methods=["POST"])
        for name, messages in COMMANDS.items()
    ]
    return [
        *commands,
        Route("/_sandbox/requests", functools.partial(_requests, sandbox)),
        Route("/_sandbox/history", functools.partial(_history, sandbox)),
        Route("/_sandbox/records/{entity}", functools.partial(_records, sandbox)),
    ]


def _command(sandbox: Sandbox, messages: Any) -> Callable[[Request], Awaitable[Response]]:
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
        return _json({"result": result, "history": len(sandbox.account.history)})

    return answer


async def _requests(sandbox: Sandbox, request: Request) -> Response:
    since = _number(request, "since")
    return _lines(sandbox.requests.since(since or 0))


async def _history(sandbox: Sandbox, request: Request) -> Response:
    after = _number(request, "after")
    return _lines(sandbox.account.history.after(after or 0))


async def _records(sandbox: Sandbox, request: Request) -> Response:
    entity = request.path_params["entity"]
    if entity not in ENTITIES:
        return _refused(404, f"unknown entity; known: {', '.join(ENTITIES)}")
    user_id = _number(request, "user_id")
    if user_id is not None and user_id not in sandbox.account.rights:
        return _refused(404, f"unknown user {user_id}")
    return _lines(sandbox.truth(entity, user_id=user_id, as_of=_number(request, "as_of")))


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else None


def _lines(rows: Iterable[Any]) -> Response:
    def chunks() -> Iterator[bytes]:
        waiting: list[bytes] = []
        for row in rows:
            waiting.append(_encode(row) + b"\n")
            if len(waiting) == LINES_A_CHUNK:
                yield b"".join(waiting)
                waiting.clear()
        yield b"".join(waiting)

    return StreamingResponse(chunks(), media_type=LINES)


def _json(content: Any, status: int = 200) -> Response:
    return Response(_encode(content), status, media_type=JSON)


def _refused(status: int, error: str) -> Response:
    return _json({"error": error}, status)
