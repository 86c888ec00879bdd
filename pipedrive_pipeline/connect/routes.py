"""The JSON routes of a connection: each calls one function of this room or the vault.

Belongs here: paths, and who may call them. Does not belong here: what a call does, a browser's way
through a consent (`browser.py`), syncs, mappings and keys (`sync_routes.py`, `mapping_routes.py`,
`key_routes.py`).
"""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect import callers, envelope, links, models, shapes
from pipedrive_pipeline.connect.documented import REFUSALS
from pipedrive_pipeline.connect.models import Answer, Listed
from pipedrive_pipeline.connect.refusals import NotSignedIn
from pipedrive_pipeline.connect.requests import (
    Admin,
    Body,
    Held,
    Manager,
    Reader,
    Sent,
    SystemKey,
    fail,
)
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.sync.proofs import proved
from pipedrive_pipeline.vault import connections, ending
from pipedrive_pipeline.vault.vault import Vault

router = APIRouter(responses=REFUSALS, tags=["connection"])

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@router.get("/healthz", response_model=Answer[models.Ok], tags=["health"])
def healthz(request: Request, house: Held) -> JSONResponse:
    """Whether the app can do its work: it answers, and so does its database."""
    with house.warehouse.connect() as connection:
        connection.execute("select 1")
    return envelope.answered(request, models.Ok())


@router.get("/api/integrations", response_model=Listed[models.Connection])
def integrations(request: Request, house: Held, caller: Reader) -> JSONResponse:
    """Every system, with the tenant's connection to it."""
    of_app = Vault(house.warehouse, house.vault.settings)
    held = {one.system: one for one in connections.connections(of_app, caller.tenant)}
    shown = [shapes.connection(system, held.get(system)) for system in registry.SYSTEMS]
    return envelope.answered(request, shown)


@router.post(
    "/api/integrations/{system}/connect-link",
    status_code=201,
    response_model=Answer[models.LinkMade],
)
def connect_link(request: Request, house: Held, system: SystemKey, caller: Admin) -> JSONResponse:
    """A one-time link for whoever may consent; shown once."""
    link = links.make(house.vault, caller.tenant, system, who=caller.name)
    made = models.LinkMade(url=link.url, expires_at=link.expires_at)
    return envelope.answered(request, made, status=201)


@router.post("/api/integrations/{system}/test", response_model=Answer[models.Proof])
def test(request: Request, house: Held, system: SystemKey, caller: Manager) -> JSONResponse:
    """Whether it works now, as whom, and what that user cannot see."""
    found = proved(house.vault, caller.tenant, system)
    return envelope.answered(request, shapes.proof(found))


@router.delete("/api/integrations/{system}/disconnect", response_model=Answer[models.Ended])
def disconnect(request: Request, house: Held, system: SystemKey, caller: Admin) -> JSONResponse:
    """The connection is over; the synced rows stay."""
    end = ending.disconnect(house.vault, caller.tenant, system, who=caller.name)
    return envelope.answered(request, shapes.ended(end))


@router.delete("/api/integrations/{system}/callback", include_in_schema=False)
def uninstalled(request: Request, house: Held, system: SystemKey, sent: Sent) -> JSONResponse:
    """The source's notice that somebody removed our app: the same as a disconnect."""
    settings = house.vault.settings
    if not callers.is_the_system(request, settings):
        fail(request)
        raise NotSignedIn
    if str(sent.fields.get("client_id")) != settings.pipedrive_client_id:
        raise BadInput("client_id is not this app's.")
    user_id = sent.fields.get("user_id")
    ended = ending.uninstalled(
        house.vault,
        system,
        company_id=_id(sent, "company_id"),
        user_id=None if user_id is None else _id(sent, "user_id"),
    )
    return envelope.replied(request, {"ended": len(ended)})


def _id(sent: Body, name: str) -> str:
    """An id of the source, as text.

    Raises:
        BadInput: it is missing, or no id.
    """
    value = sent.fields.get(name)
    text = str(value) if isinstance(value, int | str) else ""
    if not ID.fullmatch(text):
        raise BadInput(f"{name} is missing, or no id.")
    return text
