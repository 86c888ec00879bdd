"""Faults on purpose: which requests fail, and how.

A fault stays in a queue until its requests have come. Some faults replace the answer, some change
it after the work is done, some only change its transmission, and ``edit`` changes the account just
before the request is answered, for example between two pages of a walk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from pipedrive_pipeline.sandbox.web.answers import (
    CLOUDFLARE_BLOCK,
    ERROR_INFO,
    MAINTENANCE,
    Answer,
    Record,
    by_gateway,
    by_service,
    encode,
    html,
    invalid,
)
from pipedrive_pipeline.sandbox.web.limits import (
    DAILY_LIMIT,
    DAILY_REMAINING,
    WindowState,
    budget_refusal,
    burst_refusal,
)
from pipedrive_pipeline.sandbox.world.clock import stamp

HUGE_BYTES = 500_000_000
FULL_WINDOW = WindowState(limit=80, remaining=0, reset_seconds=2)
MONTH_SECONDS = 2_592_000
AHEAD = timedelta(minutes=10)
FAR_AHEAD = timedelta(days=300)
TOKEN_PATH = "/oauth/token"  # noqa: S105 (a path)


def unauthorized() -> Answer:
    """401 of the gateway."""
    headers = {"x-401-by-gw": "true", "x-correlation-id": "5f1c0a7e-sandbox"}
    return by_gateway(401, "unauthorized access", headers).answer


def token_refusal(status: int, error: str, message: str) -> Answer:
    """An error of the token endpoint."""
    return Answer(status, encode({"success": False, "message": message, "error": error}))


def _moved() -> Answer:
    return Answer(301, b"", headers={"location": "https://renamed.example/api/v2/organizations"})


# These answers replace the work.
INSTEAD: dict[str, Callable[[], Answer]] = {
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
    "empty_200": lambda: Answer(200, b""),
    "bad_cursor": lambda: invalid("Parameter 'cursor' is not valid").answer,
    "expired_cursor": lambda: invalid("Parameter 'cursor' has expired").answer,
    "invalid_grant": lambda: token_refusal(
        400, "invalid_grant", "Invalid grant: refresh token is invalid"
    ),
    "invalid_client": lambda: token_refusal(
        400, "invalid_client", "Invalid client: client is invalid"
    ),
}


def _success_false(answer: Answer, _: str) -> Answer:
    body = {"success": False, "error": "Something went wrong", "error_info": ERROR_INFO}
    return replace(answer, status=200, body=encode(body | {"data": None}))


def _with(**keys: Any) -> Callable[[Answer, str], Answer]:
    """Overwrites some keys of the body."""

    def spoil(answer: Answer, _: str) -> Answer:
        return replace(answer, body=encode(msgspec.json.decode(answer.body) | keys))

    return spoil


def _repeated_cursor(answer: Answer, query: str) -> Answer:
    """Returns the cursor that was sent as the next one."""
    body = msgspec.json.decode(answer.body)
    sent = dict(parse_qsl(query)).get("cursor")
    if sent is not None:
        body["additional_data"] = {"next_cursor": sent}
    return replace(answer, body=encode(body))


def _without(key: str) -> Callable[[Answer, str], Answer]:
    """Removes a key from the body."""

    def spoil(answer: Answer, _: str) -> Answer:
        body = msgspec.json.decode(answer.body)
        body.pop(key, None)
        return replace(answer, body=encode(body))

    return spoil


def _rows(change: Callable[[list[Record], Answer], list[Any]]) -> Callable[[Answer, str], Answer]:
    """Changes the records of a list; an answer that holds none is left as it is."""

    def spoil(answer: Answer, _: str) -> Answer:
        body = msgspec.json.decode(answer.body)
        if not isinstance(body.get("data"), list) or not body["data"]:
            return answer
        return replace(answer, body=encode(body | {"data": change(body["data"], answer)}))

    return spoil


def _out_of_place(rows: list[Record], answer: Answer) -> list[Record]:
    """Gives the first record the present time as its edit time, at the same place."""
    now = stamp(parsedate_to_datetime(answer.headers["date"]))
    return [rows[0] | {"update_time": now}, *rows[1:]]


def _keyless(rows: list[Record], _: Answer) -> list[Record]:
    """Inserts a copy of the first record, without its id, behind it."""
    return [rows[0], {key: value for key, value in rows[0].items() if key != "id"}, *rows[1:]]


def _date(shift: timedelta) -> Callable[[Answer, str], Answer]:
    """Moves the ``Date`` header."""

    def spoil(answer: Answer, _: str) -> Answer:
        sent_at = parsedate_to_datetime(answer.headers["date"]) + shift
        return _with_headers(answer, date=format_datetime(sent_at, usegmt=True))

    return spoil


def _budget(text: str) -> Callable[[Answer, str], Answer]:
    """Puts a text into the two headers of the day's budget."""
    return lambda answer, _: _with_headers(answer, **{DAILY_LIMIT: text, DAILY_REMAINING: text})


def _with_headers(answer: Answer, **headers: str | None) -> Answer:
    """An answer with other headers; None removes one."""
    merged = answer.headers | headers
    return replace(answer, headers={k: v for k, v in merged.items() if v is not None})


# These change the answer after the work is done.
AFTERWARDS: dict[str, Callable[[Answer, str], Answer]] = {
    "success_false": _success_false,
    "no_additional_data": _without("additional_data"),
    "no_cursor_key": _with(additional_data={}),
    "missing_cursor": _with(additional_data={}),
    "early_null_cursor": _with(additional_data={"next_cursor": None}),
    "null_cursor": _with(additional_data={"next_cursor": None}),
    "repeated_cursor": _repeated_cursor,
    "empty_page": _with(data=[]),
    "empty_account": _with(data=[], additional_data={"next_cursor": None}),
    "half_page": _rows(lambda rows, _: rows[: len(rows) // 2]),
    "null_record": _rows(lambda rows, _: [*rows[:1], None, *rows[1:]]),
    "keyless_record": _rows(_keyless),
    "out_of_place": _rows(_out_of_place),
    "date_ahead": _date(AHEAD),
    "date_far_ahead": _date(FAR_AHEAD),
    "date_behind": _date(-AHEAD),
    "no_date": lambda answer, _: _with_headers(answer, date=None),
    "budget_negative": _budget("-20"),
    "budget_huge": _budget("1" + 300 * "0"),
    "budget_text": _budget("unlimited"),
    "truncated_json": lambda answer, _: replace(answer, body=answer.body[: len(answer.body) // 2]),
    "reset_mid_body": lambda answer, _: replace(answer, delivery="cut"),
    "lost_answer": lambda answer, _: replace(answer, delivery="lost"),
    "byte_a_second": lambda answer, _: replace(answer, delivery="drip"),
    "huge_page": lambda answer, _: replace(answer, delivery="flood", flood_bytes=HUGE_BYTES),
    "slow": lambda answer, _: answer,
}
EDIT = "edit"  # the account changes just before the request is answered
KINDS = (*INSTEAD, *AFTERWARDS, EDIT)


@dataclass(frozen=True)
class Fault:
    """One fault in the queue."""

    kind: str
    after: int = 0  # how many matching requests pass unchanged first
    times: int = 1  # how many matching requests then fail
    path: str = ""  # part of path and query of the matching requests
    seconds: float = 0.0  # before the first byte
    action: Callable[[], None] | None = None  # of ``edit``


class Faults:
    """The queue of one sandbox."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._queue: list[Fault] = []

    def add(
        self,
        kind: str,
        *,
        after: int = 0,
        times: int = 1,
        path: str = "",
        seconds: float = 0.0,
        action: Callable[[], None] | None = None,
    ) -> None:
        """Queue a fault.

        Args:
            kind: one of ``KINDS``.
            after: how many matching requests pass unchanged first.
            times: how many matching requests then fail, one after the other.
            path: part of path and query of matching requests; by default all but the sandbox's
                own, and the token route for faults of tokens.
            seconds: the wait before the first byte.
            action: what an ``edit`` does.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}; known: {', '.join(KINDS)}")
        if kind in ("invalid_grant", "invalid_client"):
            path = path or TOKEN_PATH
        with self._lock:
            self._queue.append(Fault(kind, after, times, path, seconds, action))

    def before(self, number: int, action: Callable[[], None], *, path: str = "") -> None:
        """Run an action just before the ``number``-th fitting request from now is answered."""
        self.add(EDIT, after=number - 1, path=path, action=action)

    def clear(self) -> None:
        """Drop all queued faults."""
        with self._lock:
            self._queue.clear()

    def waiting(self) -> list[Fault]:
        """The faults that are still queued."""
        with self._lock:
            return list(self._queue)

    def due(self, url: str) -> list[Fault]:
        """The faults of the request that is coming in now."""
        with self._lock:
            due, waiting = [], []
            for fault in self._queue:
                if fault.path not in url:
                    waiting.append(fault)
                elif fault.after > 0:
                    waiting.append(replace(fault, after=fault.after - 1))
                else:
                    due.append(fault)
                    if fault.times > 1:
                        waiting.append(replace(fault, times=fault.times - 1))
            self._queue = waiting
            return due
