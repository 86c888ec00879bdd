"""What every route documents alike, for `/openapi.json`.

Belongs here: the answers that any route may give, and the words above them. Does not belong here:
what one route gives beside them.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pipedrive_pipeline.connect.models import Refusal
from pipedrive_pipeline.connectors import registry

DESCRIPTION = """\
Connect a company's CRM, map its fields, ask for syncs and follow them.

Every answer is `{"data": …, "meta": {"request_id": …}}`, a list also has
`meta.pagination.next_cursor`; every error is `{"error": {"code", "message", "details"}, "meta"}`.
Send `Authorization: Bearer KEY` or `X-API-Key: KEY`; with the operator's key also `X-Tenant`.
"""
TENANT_HEADER = "The tenant, with the operator's key; a tenant's own key names its tenant."
WORDS = {
    400: "The request cannot be used as it stands.",
    401: "No key, or one that opens nothing.",
    403: "The key's role, or where the request came from, does not allow this.",
    404: "This tenant has nothing of this name or id.",
    405: "This address does not know the method.",
    408: "The body took too long to arrive.",
    409: "The state of things is against it; the message says who must act.",
    413: "The body is too large.",
    422: "The request does not fit; `details` names each field.",
    429: "Too many requests; `Retry-After` says when again.",
    502: "The source answered against its own contract.",
    503: "The source or the database does not answer now; `Retry-After` says when to try again.",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": words} for status, words in WORDS.items()
}


def reads(query: type[BaseModel] | None = None) -> dict[str, Any]:
    """What a route documents that reads its request by `polled.reading` and `polled.query`."""
    systems = {"type": "string", "enum": list(registry.SYSTEMS), "title": "System"}
    tenant = {"anyOf": [{"type": "string"}, {"type": "null"}], "title": "X-Tenant"}
    properties = query.model_json_schema()["properties"] if query else {}
    return {
        "security": [{"HTTPBearer": []}, {"APIKeyHeader": []}],
        "parameters": [
            {"name": "system", "in": "path", "required": True, "schema": systems},
            *(_parameter(name, schema) for name, schema in properties.items()),
            {
                "name": "X-Tenant",
                "in": "header",
                "required": False,
                "schema": tenant,
                "description": TENANT_HEADER,
            },
        ],
    }


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    described = {"description": schema["description"]} if "description" in schema else {}
    return {"name": name, "in": "query", "required": False, "schema": schema, **described}
