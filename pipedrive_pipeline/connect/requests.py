"""What a request says, read and checked: the vault it is for, its caller, its system, its body.

Belongs here: FastAPI's dependencies. Does not belong here: what a route does with what it is told,
or the routes that do without them (`polled.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Header, Path, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from pipedrive_pipeline.connect import callers
from pipedrive_pipeline.connect.callers import Caller
from pipedrive_pipeline.connect.documented import TENANT_HEADER
from pipedrive_pipeline.connect.keys import Role
from pipedrive_pipeline.connect.limits import Windows
from pipedrive_pipeline.connect.refusals import NotFound, NotSignedIn, RoleTooLow
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse.pool import PooledWarehouse

REQUESTS_A_MINUTE = 600  # of one key and tenant: a page that looks ten times a second
FAILURES_A_MINUTE = 20  # of one address: wrong keys, forged states, unknown links
FORM_FIELDS_MAX = 20
BEARER = HTTPBearer(auto_error=False, description="A key of `keys add`, or the operator's.")
API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key.")


@dataclass(frozen=True)
class House:
    """What the app holds between requests."""

    vault: Vault  # its sessions are its own: it may hold a row while it asks the source
    warehouse: PooledWarehouse  # for what is answered from our tables
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


async def house(request: Request) -> House:
    """The app's own; asynchronous like all that does no I/O: a thread for it costs 0.2 ms."""
    held: House = request.app.state.house
    return held


async def known_system(
    system: Annotated[str, Path(json_schema_extra={"enum": list(registry.SYSTEMS)})],
) -> str:
    """The path's system.

    Raises:
        NotFound: there is none of this name.
    """
    require_system(system)
    return system


def require_system(system: str) -> None:
    """Nothing, if there is a system of this name.

    Raises:
        NotFound: there is none.
    """
    if system not in registry.SYSTEMS:
        raise NotFound


def signed_in(request: Request) -> Caller:
    """Who sends this, within its window.

    Raises:
        NotSignedIn, Forbidden, OtherTenant, BadInput, BadSlug, UnknownTenant, TooManyRequests: the
            caller must change something.
    """
    held: House = request.app.state.house
    with failures_counted(request):
        claim = callers.claim_of(request, held.vault.settings)
        caller = callers.caller_of(claim, held.warehouse)
    take_turn(request, caller)
    return caller


def needs(role: Role) -> Callable[..., Caller]:
    """A dependency: whoever sends this has this role, or a greater one."""

    def caller(
        request: Request,
        _bearer: Annotated[object, Security(BEARER)],
        _api_key: Annotated[object, Security(API_KEY)],
        _tenant: Annotated[str | None, Header(alias="X-Tenant", description=TENANT_HEADER)] = None,
    ) -> Caller:
        """The caller; the parameters beside the request stand there to be documented."""
        found = signed_in(request)
        require_role(found, role)
        return found

    return caller


@contextmanager
def failures_counted(request: Request) -> Iterator[None]:
    """Who is not signed in within the block has failed once more, as `fail` counts."""
    try:
        yield
    except NotSignedIn:
        fail(request)
        raise


def take_turn(request: Request, caller: Caller) -> None:
    """One more request of this caller's window, which the answer's headers tell.

    Raises:
        TooManyRequests: the window is full.
    """
    held: House = request.app.state.house
    request.state.turn = held.requests.take(f"{caller.id}/{caller.tenant}")


def require_role(caller: Caller, role: Role) -> None:
    """Nothing, if the caller may do what this role may.

    Raises:
        RoleTooLow: an admin, or the operator, must do it.
    """
    if not caller.role.includes(role):
        raise RoleTooLow(caller.role, role)


def fail(request: Request) -> None:
    """One more failure of this address.

    Raises:
        TooManyRequests: it had too many within a minute.
    """
    address = request.client.host if request.client else ""
    held: House = request.app.state.house
    held.failures.take(address)


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
Reader = Annotated[Caller, Depends(needs(Role.USER))]
Manager = Annotated[Caller, Depends(needs(Role.MANAGER))]
Admin = Annotated[Caller, Depends(needs(Role.ADMIN))]
Sent = Annotated[Body, Depends(body)]
Held = Annotated[House, Depends(house)]
