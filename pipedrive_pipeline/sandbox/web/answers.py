"""Bodies of successful answers and of errors, in the format of gateway, services and edge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

Record = dict[str, Any]
ERROR_INFO = "Please check developers.pipedrive.com"
JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
encode = msgspec.json.Encoder().encode


Delivery = Literal["whole", "lost", "cut", "drip", "flood"]


@dataclass
class Answer:
    """One HTTP answer, and how it is transmitted."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    delivery: Delivery = "whole"
    delay_seconds: float = 0.0
    flood_bytes: int = 0


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        self.answer = Answer(status, encode(body), headers=dict(headers or {}))
        super().__init__(status)


def success(data: Any, status: int = 200, **additional: Any) -> Answer:
    """A successful answer with its data."""
    return Answer(status, encode({"success": True, "data": data, **additional}))


def page(rows: Iterable[Record], next_cursor: str | None) -> Answer:
    """A v2 list."""
    return success(list(rows), additional_data={"next_cursor": next_cursor})


def offset_page(rows: list[Any], start: int, limit: int, total: int) -> Answer:
    """A v1 list."""
    has_more = start + limit < total
    pagination: Record = {
        "start": start,
        "limit": limit,
        "more_items_in_collection": has_more,
    }
    if has_more:
        pagination["next_start"] = start + limit
    return success(rows, additional_data={"pagination": pagination})


def by_gateway(status: int, error: str, headers: Mapping[str, str] | None = None) -> Refusal:
    """401, 403 for scopes and 429, sent by the gateway before a service is called."""
    body = {"success": False, "error": error, "errorCode": status, "error_info": ERROR_INFO}
    return Refusal(status, body, headers)


def by_service(status: int, error: str, **more: Any) -> Refusal:
    """Refused by the v2 or v1 service itself."""
    body = {"success": False, "error": error, **more}
    return Refusal(status, body | {"error_info": ERROR_INFO, "data": None, "additional_data": None})


def invalid(error: str, **details: Any) -> Refusal:
    """A request that the v2 schema does not allow."""
    return by_service(400, error, code="ERR_SCHEMA_VALIDATION_FAILED", **details)


def html(status: int, text: str) -> Answer:
    """A page of the edge instead of JSON."""
    return Answer(status, text.encode(), HTML)


CLOUDFLARE_BLOCK = (
    "<!DOCTYPE html>\n<html><head><title>Access denied | Cloudflare</title></head>"
    "<body><h1>Error 1015</h1><p>You are being rate limited.</p></body></html>\n"
)
MAINTENANCE = (
    "<!DOCTYPE html>\n<html><head><title>503 Service Unavailable</title></head>"
    "<body><h1>Scheduled maintenance</h1></body></html>\n"
)
