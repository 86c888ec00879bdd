"""The envelope of every JSON answer, and the status of every error."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from pipedrive_pipeline.connect.api.cursors import encoded
from pipedrive_pipeline.connect.auth.rate_limits import Quota
from pipedrive_pipeline.connect.errors import error_body
from pipedrive_pipeline.errors import (
    Busy,
    PipelineError,
    SettingsError,
    SourceBroke,
    Transient,
    UnknownTenant,
    UsageError,
)
from pipedrive_pipeline.sync.writes.errors import WriteError

Row = TypeVar("Row")
STATUSES: Mapping[str, int] = {
    "state_refused": 400,
    "consent_declined": 400,
    "code_refused": 400,
    "link_refused": 400,
    "not_signed_in": 401,
    "forbidden": 403,
    "role_too_low": 403,
    "other_tenant": 403,
    "operator_only": 403,
    "key_of_crm_user": 403,
    "not_found": 404,
    "not_connected": 404,
    "nothing_to_confirm": 404,
    "webhook_refused": 404,
    "host_not_allowed": 422,
    "token_refused": 422,
    "bad_mapping": 422,
    "bad_sink": 422,
    "idempotency_key_reused": 422,
    "too_many_requests": 429,
    "too_much_at_once": 429,
}
RETRY_AFTER_SECONDS = 5
ACCEPTED = 202


def status_of(error: PipelineError) -> int:
    """The HTTP status of an error of our family."""
    own = error.status if isinstance(error, WriteError) else STATUSES.get(error.code)
    if own is not None:
        return own
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
    """JSON of pydantic models and plain values."""

    def render(self, content: Any) -> bytes:
        """The body. Half a surrogate pair, which UTF-8 cannot express, is sent as `?`."""
        try:
            return to_json(content, by_alias=True, inf_nan_mode="null")
        except PydanticSerializationError:
            plain = to_jsonable_python(content, by_alias=True, inf_nan_mode="null")
            text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
            return text.encode("utf-8", "replace")


def answer(
    request: Request,
    data: object,
    *,
    status: int = 200,
    next_cursor: str | None = None,
    headers: Mapping[str, str] | None = None,
    warnings: Sequence[Mapping[str, object]] | None = None,
) -> JSONResponse:
    """A good answer of a model, of plain JSON, or of a list of either.

    Args:
        request: the request.
        data: a list gets pagination in its `meta`.
        status: the HTTP status.
        next_cursor: leads to the next page of a list; None on the last page.
        headers: more headers.
        warnings: of a write; None: the answer is of another kind.
    """
    meta: dict[str, object] = {"request_id": request.state.request_id}
    if warnings is not None:
        meta["warnings"] = list(warnings)
    if isinstance(data, list):
        meta["pagination"] = {"next_cursor": next_cursor}
    body = {"data": data, "meta": meta}
    return Json(body, status_code=status, headers={**_quota(request), **(headers or {})})


def page(
    request: Request,
    rows: Sequence[Row],
    limit: int,
    *,
    shown: Callable[[Row], object],
    place: Callable[[Row], Sequence[object]],
) -> JSONResponse:
    """A page of a list, with the cursor of the next one.

    Args:
        request: the request.
        rows: those of the page, and one more if there are more.
        limit: rows of the page.
        shown: a row as it is answered.
        place: where a row is in the list, for the cursor.
    """
    on_page = rows[:limit]
    next_cursor = encoded(*place(on_page[-1])) if len(rows) > limit else None
    return answer(request, [shown(row) for row in on_page], next_cursor=next_cursor)


def as_json(model: BaseModel) -> Any:
    """A model as plain JSON, with the API's names, to be stored."""
    return model.model_dump(mode="json", by_alias=True)


def refusal(
    request: Request,
    code: str,
    message: str,
    *,
    status: int,
    details: list[dict[str, str]] | None = None,
    retry_after_seconds: float | None = None,
) -> JSONResponse:
    """An error answer; ``details`` names fields and the issue of each."""
    body = error_body(request.state.request_id, code, message, details or ())
    headers = _quota(request)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if retry_after_seconds is not None or status == 503:
        headers["retry-after"] = str(math.ceil(retry_after_seconds or RETRY_AFTER_SECONDS))
    return Json(body, status_code=status, headers=headers)


def _quota(request: Request) -> dict[str, str]:
    """The rest of the caller's rate limit, if the caller is known."""
    quota: Quota | None = getattr(request.state, "quota", None)
    if quota is None:
        return {}
    return {
        "x-ratelimit-limit": str(quota.limit),
        "x-ratelimit-remaining": str(quota.remaining),
        "x-ratelimit-reset": str(math.ceil(quota.resets_in_seconds)),
    }


def wants_page(request: Request) -> bool:
    """True if the request accepts HTML, as a browser's navigation does."""
    return "text/html" in request.headers.get("accept", "")
