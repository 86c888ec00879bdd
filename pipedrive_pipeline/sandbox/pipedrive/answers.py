"""Bodies of successful answers and of errors, in the format of gateway, services and edge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipedrive_pipeline.sandbox.kit.answers import RequestRefused, SandboxAnswer, encode

Record = dict[str, Any]
ERROR_INFO = "Please check developers.pipedrive.com"


def success(data: Any, status: int = 200, **additional: Any) -> SandboxAnswer:
    """A successful answer with its data."""
    return SandboxAnswer(status, encode({"success": True, "data": data, **additional}))


def page(rows: Iterable[Record], next_cursor: str | None) -> SandboxAnswer:
    """A v2 list."""
    return success(list(rows), additional_data={"next_cursor": next_cursor})


def offset_page(rows: list[Any], start: int, limit: int, total: int) -> SandboxAnswer:
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


def by_gateway(status: int, error: str, headers: Mapping[str, str] | None = None) -> RequestRefused:
    """401, 403 for scopes and 429, sent by the gateway before a service is called."""
    body = {"success": False, "error": error, "errorCode": status, "error_info": ERROR_INFO}
    return RequestRefused(status, body, headers)


def by_service(status: int, error: str, **more: Any) -> RequestRefused:
    """Refused by the v2 or v1 service itself."""
    body = {"success": False, "error": error, "error_info": ERROR_INFO, **more}
    return RequestRefused(status, body | {"data": None, "additional_data": None})


def invalid(error: str, **details: Any) -> RequestRefused:
    """A request that the v2 schema does not allow."""
    return by_service(400, error, code="ERR_SCHEMA_VALIDATION_FAILED", **details)


def unauthorized() -> SandboxAnswer:
    """401 of the gateway."""
    headers = {"x-401-by-gw": "true", "x-correlation-id": "5f1c0a7e-sandbox"}
    return by_gateway(401, "unauthorized access", headers).answer


def token_refusal(status: int, error: str, message: str) -> SandboxAnswer:
    """An error of the token endpoint."""
    return SandboxAnswer(status, encode({"success": False, "message": message, "error": error}))


CLOUDFLARE_BLOCK = (
    "<!DOCTYPE html>\n<html><head><title>Access denied | Cloudflare</title></head>"
    "<body><h1>Error 1015</h1><p>You are being rate limited.</p></body></html>\n"
)
MAINTENANCE = (
    "<!DOCTYPE html>\n<html><head><title>503 Service Unavailable</title></head>"
    "<body><h1>Scheduled maintenance</h1></body></html>\n"
)
