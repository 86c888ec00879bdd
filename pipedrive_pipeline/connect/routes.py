"""The JSON routes: each calls one function of this room or the vault and answers in the envelope.

Belongs here: paths, and who may call them: the operator with a key, the source with its own.
Does not belong here: what a call does, and a browser's way through a consent (`browser.py`).
"""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect import callers, envelope, links, shapes
from pipedrive_pipeline.connect.refusals import NotSignedIn
from pipedrive_pipeline.connect.requests import Body, Held, Sent, SignedIn, SystemKey, fail
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.vault import connections, ending, proving

router = APIRouter()

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@router.get("/healthz")
def healthz(request: Request, house: Held) -> JSONResponse:
    """Whether the app can do its work: it answers, and so does its database."""
    with house.vault.warehouse.connect() as connection:
        connection.execute("select 1")
    return envelope.answered(request, {"status": "ok"})


@router.get("/api/integrations")
def integrations(request: Request, house: Held, caller: SignedIn) -> JSONResponse:
    """Every system, with the tenant's connection to it."""
    held = {one.system: one for one in connections.connections(house.vault, caller.tenant)}
    shown = [shapes.connection(system, held.get(system)) for system in registry.SYSTEMS]
    return envelope.answered(request, shown)


@router.get("/api/integrations/{system}/status")
def status(request: Request, house: Held, system: SystemKey, caller: SignedIn) -> JSONResponse:
    """The tenant's connection, as it is stored."""
    held = connections.connection(house.vault, caller.tenant, system)
    return envelope.answered(request, shapes.connection(system, held))


@router.post("/api/integrations/{system}/connect-link")
def connect_link(
    request: Request, house: Held, system: SystemKey, caller: SignedIn
) -> JSONResponse:
    """A one-time link for whoever may consent; shown once."""
    link = links.make(house.vault, caller.tenant, system, who=caller.name)
    shown = {"url": link.url, "expiresAt": link.expires_at.isoformat()}
    return envelope.answered(request, shown, status=201)


@router.post("/api/integrations/{system}/test")
def test(request: Request, house: Held, system: SystemKey, caller: SignedIn) -> JSONResponse:
    """Whether it works now, as whom, and what that user cannot see."""
    found = proving.prove(house.vault, caller.tenant, system)
    return envelope.answered(request, shapes.proof(found))


@router.delete("/api/integrations/{system}/disconnect")
def disconnect(request: Request, house: Held, system: SystemKey, caller: SignedIn) -> JSONResponse:
    """The connection is over; the synced rows stay."""
    end = ending.disconnect(house.vault, caller.tenant, system, who=caller.name)
    return envelope.answered(request, shapes.ended(end))


@router.delete("/api/integrations/{system}/callback")
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
    return envelope.answered(request, {"ended": len(ended)})


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
