"""The faults of a look-alike of Pipedrive: answers of its edge, its gateway and its services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer, encode, html
from pipedrive_pipeline.sandbox.kit.clock import stamp
from pipedrive_pipeline.sandbox.kit.faults import (
    DELIVERIES,
    TRANSMISSION,
    Change,
    FaultKinds,
    with_headers,
    with_keys,
    without_key,
)
from pipedrive_pipeline.sandbox.kit.limits import WindowState
from pipedrive_pipeline.sandbox.pipedrive.answers import (
    CLOUDFLARE_BLOCK,
    ERROR_INFO,
    MAINTENANCE,
    Record,
    by_gateway,
    by_service,
    invalid,
    token_refusal,
    unauthorized,
)
from pipedrive_pipeline.sandbox.pipedrive.limits import (
    DAILY_LIMIT,
    DAILY_REMAINING,
    budget_refusal,
    burst_refusal,
)

FULL_WINDOW = WindowState(limit=80, remaining=0, reset_seconds=2)
MONTH_SECONDS = 2_592_000
TOKEN_PATH = "/oauth/token"  # noqa: S105 (a path)


def _moved() -> SandboxAnswer:
    return SandboxAnswer(
        301, b"", headers={"location": "https://renamed.example/api/v2/organizations"}
    )


# These answers replace the work.
INSTEAD: dict[str, Callable[[], SandboxAnswer]] = {
    "burst_429": lambda: burst_refusal(FULL_WINDOW, has_retry_after=False),
    "burst_429_retry_after": lambda: burst_refusal(FULL_WINDOW, has_retry_after=True),
    "daily_429": lambda: budget_refusal(3_939),
    "daily_429_for_a_month": lambda: budget_refusal(MONTH_SECONDS),
    "cloudflare_403": lambda: html(403, CLOUDFLARE_BLOCK),
    "scope_403": lambda: by_gateway(403, "Scope and URL mismatch").answer,
    "unauthorized_401": unauthorized,
    "payment_402": lambda: by_service(402, "Company account is closed").answer,
    "gone_410": lambda: by_service(410, "Gone").answer,
    "moved_301": _moved,
    "http_500": lambda: by_service(500, "Internal Server Error").answer,
    "http_502": lambda: html(502, "<html><body><h1>502 Bad Gateway</h1></body></html>"),
    "http_503": lambda: by_service(503, "Service Unavailable").answer,
    "html_503": lambda: html(503, MAINTENANCE),
    "html_200": lambda: html(200, MAINTENANCE),
    "empty_200": lambda: SandboxAnswer(200, b""),
    "bad_cursor": lambda: invalid("Parameter 'cursor' is not valid").answer,
    "expired_cursor": lambda: invalid("Parameter 'cursor' has expired").answer,
    "invalid_grant": lambda: token_refusal(
        400, "invalid_grant", "Invalid grant: refresh token is invalid"
    ),
    "invalid_client": lambda: token_refusal(
        400, "invalid_client", "Invalid client: client is invalid"
    ),
}


def _success_false(answer: SandboxAnswer, _: str) -> SandboxAnswer:
    body = {"success": False, "error": "Something went wrong", "error_info": ERROR_INFO}
    return replace(answer, status=200, body=encode(body | {"data": None}))


def _repeated_cursor(answer: SandboxAnswer, query: str) -> SandboxAnswer:
    """Returns the cursor that was sent as the next one."""
    body = msgspec.json.decode(answer.body)
    sent = dict(parse_qsl(query)).get("cursor")
    if sent is not None:
        body["additional_data"] = {"next_cursor": sent}
    return replace(answer, body=encode(body))


def _rows(change: Callable[[list[Record], SandboxAnswer], list[Any]]) -> Change:
    """Changes the records of a list; an answer that holds none is left as it is."""

    def spoil(answer: SandboxAnswer, _: str) -> SandboxAnswer:
        body = msgspec.json.decode(answer.body)
        if not isinstance(body.get("data"), list) or not body["data"]:
            return answer
        return replace(answer, body=encode(body | {"data": change(body["data"], answer)}))

    return spoil


def _out_of_place(rows: list[Record], answer: SandboxAnswer) -> list[Record]:
    """Gives the first record the present time as its edit time, at the same place."""
    now = stamp(parsedate_to_datetime(answer.headers["date"]))
    return [rows[0] | {"update_time": now}, *rows[1:]]


def _keyless(rows: list[Record], _: SandboxAnswer) -> list[Record]:
    """Inserts a copy of the first record, without its id, behind it."""
    return [rows[0], {key: value for key, value in rows[0].items() if key != "id"}, *rows[1:]]


def _paging(change: Callable[[Record], Record]) -> Change:
    """Changes the `additional_data` of a v1 page; other answers are left as they are."""

    def spoil(answer: SandboxAnswer, _: str) -> SandboxAnswer:
        body = msgspec.json.decode(answer.body)
        pagination = (body.get("additional_data") or {}).get("pagination")
        if pagination is None:
            return answer
        return replace(answer, body=encode(body | {"additional_data": change(pagination)}))

    return spoil


def _budget(text: str) -> Change:
    """Puts a text into the two headers of the day's budget."""
    return lambda answer, _: with_headers(answer, **{DAILY_LIMIT: text, DAILY_REMAINING: text})


# These change the answer after the work is done.
AFTERWARDS: dict[str, Change] = {
    "success_false": _success_false,
    "no_additional_data": without_key("additional_data"),
    "no_cursor_key": with_keys(additional_data={}),
    "missing_cursor": with_keys(additional_data={}),
    "early_null_cursor": with_keys(additional_data={"next_cursor": None}),
    "null_cursor": with_keys(additional_data={"next_cursor": None}),
    "repeated_cursor": _repeated_cursor,
    "flat_pagination": _paging(lambda pagination: pagination),
    "early_last_page": _paging(
        lambda pagination: {"pagination": pagination | {"more_items_in_collection": False}}
    ),
    "repeated_start": _paging(
        lambda pagination: {
            "pagination": pagination
            | {"more_items_in_collection": True, "next_start": pagination["start"]}
        }
    ),
    "empty_page": with_keys(data=[]),
    "empty_account": with_keys(data=[], additional_data={"next_cursor": None}),
    "half_page": _rows(lambda rows, _: rows[: len(rows) // 2]),
    "null_record": _rows(lambda rows, _: [*rows[:1], None, *rows[1:]]),
    "keyless_record": _rows(_keyless),
    "out_of_place": _rows(_out_of_place),
    "budget_negative": _budget("-20"),
    "budget_huge": _budget("1" + 300 * "0"),
    "budget_text": _budget("unlimited"),
    **TRANSMISSION,
}
KINDS = FaultKinds(
    instead=INSTEAD,
    afterwards=AFTERWARDS,
    paths={"invalid_grant": TOKEN_PATH, "invalid_client": TOKEN_PATH},
    deliveries=DELIVERIES,
)
