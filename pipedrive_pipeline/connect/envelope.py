"""The one dialect of the JSON API: what is answered, and which status an error has.

Belongs here: the envelope, and the one table from error to status. Does not belong here: pages for
people (`pages.py`), or any route.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from msgspec import Raw, Struct
from msgspec.json import decode, encode
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

from pipedrive_pipeline.connect.limits import Turn
from pipedrive_pipeline.errors import (
    Busy,
    PipelineError,
    SettingsError,
    SourceBroke,
    Transient,
    UnknownTenant,
    UsageError,
)

STATUSES: Mapping[str, int] = {
    "state_refused": 400,
    "consent_declined": 400,
    "code_refused": 400,
    "link_refused": 400,
    "not_signed_in": 401,
    "forbidden": 403,
    "role_too_low": 403,
    "other_tenant": 403,
    "not_found": 404,
    "not_connected": 404,
    "nothing_to_confirm": 404,
    "host_not_allowed": 422,
    "token_refused": 422,
    "bad_mapping": 422,
    "idempotency_key_reused": 422,
    "too_many_requests": 429,
}
RETRY_AFTER_SECONDS = 5
Shown = BaseModel | Struct


def status_of(error: PipelineError) -> int:
    """The HTTP status of an error of the family."""
    if error.code in STATUSES:
        return STATUSES[error.code]
    if isinstance(error, UnknownTenant):
        return 404
    if isinstance(error, UsageError) and not isinstance(error, SettingsError):
        return 400
    if isinstance(error, SourceBroke):
        return 502
    if isinstance(error, Transient) and not isinstance(error, Busy):
        return 503
    return 409  # a person must act: here, at the source, or in the settings


class Json(JSONResponse):
    """JSON of models and whatever they hold; no value can keep it from leaving."""

    def render(self, content: Any) -> bytes:
        """The body: half a surrogate pair, for which UTF-8 has nothing, leaves as `?`."""
        try:
            return encode(content, enc_hook=_of_pydantic)
        except (PydanticSerializationError, UnicodeEncodeError):
            text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
            return text.encode("utf-8", "replace")


def _of_pydantic(model: object) -> Raw:
    return Raw(to_json(model, by_alias=True, inf_nan_mode="null"))


def answered(request: Request, data: Shown | Sequence[Shown], *, status: int = 200) -> JSONResponse:
    """A good answer, of one thing or of a list that is whole."""
    return replied(request, data, status=status)


def replied(
    request: Request,
    data: object,
    *,
    status: int = 200,
    next_cursor: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A good answer of what is JSON already; ``next_cursor`` leads to the rest of a list."""
    meta: dict[str, object] = {"request_id": request.state.request_id}
    if isinstance(data, list):
        meta["pagination"] = {"next_cursor": next_cursor}
    body = {"data": data, "meta": meta}
    return Json(body, status_code=status, headers={**_window(request), **(headers or {})})


def shown(data: Shown) -> object:
    """A model as the API spells it, to be kept."""
    return decode(encode(data, enc_hook=_of_pydantic))


def refused(
    request: Request,
    code: str,
    message: str,
    *,
    status: int,
    details: list[dict[str, str]] | None = None,
    retry_after_seconds: float | None = None,
) -> JSONResponse:
    """An error answer; ``details`` names fields and what is wrong with each."""
    body: dict[str, Any] = {
        "error": {"code": code, "message": message, "details": details or []},
        "meta": {"request_id": request.state.request_id},
    }
    headers = _window(request)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if retry_after_seconds is not None or status == 503:
        headers["retry-after"] = str(math.ceil(retry_after_seconds or RETRY_AFTER_SECONDS))
    return Json(body, status_code=status, headers=headers)


def _window(request: Request) -> dict[str, str]:
    """What is left of the caller's minute, where the caller is known."""
    turn: Turn | None = getattr(request.state, "turn", None)
    if turn is None:
        return {}
    return {
        "x-ratelimit-limit": str(turn.limit),
        "x-ratelimit-remaining": str(turn.left),
        "x-ratelimit-reset": str(math.ceil(turn.resets_in_seconds)),
    }


def wants_page(request: Request) -> bool:
    """Whether a browser asks: it takes HTML, and says so."""
    return "text/html" in request.headers.get("accept", "")
