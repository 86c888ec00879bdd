"""What a request says, read and checked: the vault it is for, its caller, its system, its body.

Belongs here: FastAPI's dependencies. Does not belong here: what a route does with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from pipedrive_pipeline.connect import callers
from pipedrive_pipeline.connect.callers import Caller
from pipedrive_pipeline.connect.limits import Windows
from pipedrive_pipeline.connect.refusals import NotFound, NotSignedIn
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.vault.vault import Vault

REQUESTS_A_MINUTE = 120  # of one key and tenant
FAILURES_A_MINUTE = 20  # of one address: wrong keys, forged states, unknown links
FORM_FIELDS_MAX = 20


@dataclass(frozen=True)
class House:
    """What the app holds between requests."""

    vault: Vault
    requests: Windows
    failures: Windows


@dataclass(frozen=True)
class Body:
    """A form or a JSON object; ``is_form`` is what a browser's page sends."""

    fields: Mapping[str, object]
    is_form: bool

    def text(self, name: str) -> str:
        """A field as text; empty if it is absent or no text."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""


def house(request: Request) -> House:
    """The app's own."""
    held: House = request.app.state.house
    return held


def known_system(system: str) -> str:
    """The path's system.

    Raises:
        NotFound: there is none of this name.
    """
    if system not in registry.SYSTEMS:
        raise NotFound
    return system


def signed_in(request: Request) -> Caller:
    """The operator, acting for one tenant, within its window.

    Raises:
        NotSignedIn, BadInput, BadSlug, TooManyRequests: the caller must change something.
    """
    held = house(request)
    try:
        caller = callers.operator(request, held.vault.settings)
    except NotSignedIn:
        fail(request)
        raise
    request.state.turn = held.requests.take(f"{caller.name}/{caller.tenant}")
    return caller


def fail(request: Request) -> None:
    """One more failure of this address.

    Raises:
        TooManyRequests: it had too many within a minute.
    """
    address = request.client.host if request.client else ""
    house(request).failures.take(address)


async def body(request: Request) -> Body:
    """What was sent; nothing is an empty object.

    Raises:
        BadInput: neither a form nor a JSON object.
    """
    content, kind = await request.body(), request.headers.get("content-type", "")
    try:
        if kind.startswith("application/x-www-form-urlencoded"):
            pairs = parse_qsl(content.decode(), max_num_fields=FORM_FIELDS_MAX)
            return Body(dict(pairs), is_form=True)
        fields = json.loads(content) if content.strip() else {}
    except (ValueError, RecursionError):
        raise BadInput("The body is neither a form nor JSON.") from None
    if not isinstance(fields, dict):
        raise BadInput("The body is no JSON object.")
    return Body(fields, is_form=False)


SystemKey = Annotated[str, Depends(known_system)]
SignedIn = Annotated[Caller, Depends(signed_in)]
Sent = Annotated[Body, Depends(body)]
Held = Annotated[House, Depends(house)]
