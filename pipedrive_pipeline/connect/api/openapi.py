"""The parts of `/openapi.json` that all routes share."""

from __future__ import annotations

from typing import Any

from pipedrive_pipeline.connect.api.models import Refusal

DESCRIPTION = """\
Connect a company's CRM, map its fields, ask for syncs and follow them.

Every answer is `{"data": …, "meta": {"request_id": …}}`, a list also has
`meta.pagination.next_cursor`; every error is `{"error": {"code", "message", "details"}, "meta"}`.
Send `Authorization: Bearer KEY` or `X-API-Key: KEY`; with the operator's key also `X-Tenant`.

The envelope and pagination are in snake_case; what `data` holds, bodies and query parameters are in
camelCase, those of the CRM API and of the integrations in snake_case. A field or a route may be
added at any time; none is removed or changes its meaning
without a release that marks it `deprecated` before, and the CHANGELOG names it.
"""
TAGS = [
    {"name": "connection", "description": "Connect a company's CRM, test and end the connection."},
    {"name": "sync", "description": "Ask for syncs, follow them, read their history, set them up."},
    {"name": "mapping", "description": "Which field of the CRM fills which column."},
    {"name": "lent credentials", "description": "Access tokens for services that call the CRM."},
    {"name": "crm", "description": "The records of the CRM, read from the tenant's own tables."},
    {"name": "events", "description": "Webhooks of an app, which are sent what changes."},
    {"name": "integrations", "description": "An app's own records, kept in step with a CRM."},
    {"name": "look-up", "description": "Who has a phone number, an address or a domain."},
    {"name": "keys", "description": "The tenant's API keys and its audit log."},
    {"name": "webhook", "description": "Where the CRM tells of changes; for the CRM only."},
    {"name": "health", "description": "Whether the app and its database answer."},
]
STATUS_DESCRIPTIONS = {
    400: "The request cannot be used.",
    401: "No key, or an invalid one.",
    403: "The key's role, or the page that sent the request, does not allow this.",
    404: "This tenant has nothing with this name or id.",
    405: "This address does not support the method.",
    408: "The body took too long to arrive.",
    409: "The current state does not allow this; the message says who must act.",
    413: "The body is too large.",
    422: "The request does not fit; `details` names each field.",
    429: "Too many requests, or too many slow ones at once; `Retry-After` says when to try again.",
    431: "The request line and headers are too large.",
    502: "The source's answer breaks its own contract.",
    503: "The source or the database does not answer now; `Retry-After` says when to try again.",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": words}
    for status, words in STATUS_DESCRIPTIONS.items()
}
