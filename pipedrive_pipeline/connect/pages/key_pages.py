"""`/keys`: the keys that open a tenant, links that let somebody connect it, and the audit log.

The text of a new key or link is in the answer to the form that made it and nowhere else. A key's
form that is sent again, as a browser does on reload, makes no second one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import ValidationError

from pipedrive_pipeline.connect.api import idempotency, presenters
from pipedrive_pipeline.connect.api.idempotency import Call
from pipedrive_pipeline.connect.api.models import KeyIn
from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.keys import Key
from pipedrive_pipeline.connect.auth.permissions import Permission, Role
from pipedrive_pipeline.connect.consent import links
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.pages import rendering, texts
from pipedrive_pipeline.connect.pages.visitors import FormVisitor, TenantVisitor, Visitor
from pipedrive_pipeline.connect.request import AppServices, SentBody, Services
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse import audit_log

router = APIRouter(include_in_schema=False)

PAGE: Final = "/keys"
ENTRIES_SHOWN: Final = 25
EXPIRY_DAYS: Final = {"90": 90, "365": 365, "never": None}
LINK_MINUTES: Final = (links.LINK_MINUTES, 24 * 60, links.LINK_MINUTES_MAX)
SOON: Final = timedelta(days=30)
NEW: Final = timedelta(days=7)  # nobody wonders yet why it was never used


@dataclass(frozen=True)
class Made:
    """A key or link that was just made, with the text that is shown once."""

    kind: str  # key or link
    name: str
    text: str


@router.get(PAGE)
def overview(
    request: Request,
    services: AppServices,
    visitor: TenantVisitor,
    before: Annotated[int | None, Query(ge=1, le=9_007_199_254_740_991)] = None,
) -> Response:
    """Keys, links, and the audit log, newest entries first."""
    return _page(request, services, visitor, before=before)


@router.post(PAGE)
def add_key(
    request: Request, services: AppServices, visitor: FormVisitor, sent: SentBody
) -> Response:
    """Makes a key and shows its text once."""
    caller = visitor.require(Permission.MANAGE_KEYS)
    days = EXPIRY_DAYS.get(sent.text("expires"), 90)
    expires_at = days and datetime.now(UTC) + timedelta(days=days)
    try:
        wanted = KeyIn(name=sent.text("name"), role=Role(sent.text("role")), expires_at=None)
    except (ValidationError, ValueError):
        return _page(request, services, visitor, refused=sent.text("name"), status_code=422)
    call = Call.of(request, caller, sent.text("once") or None, wanted)
    with services.warehouse.as_app(visitor.tenant) as connection:
        if idempotency.begin(connection, caller, call):
            return rendering.go_to(visitor.address(PAGE))
        new = keys.add(
            connection,
            visitor.tenant,
            wanted.role,
            wanted.name,
            who=caller.name,
            expires_at=expires_at or None,
        )
        idempotency.remember(connection, caller, call, 201, presenters.key(new.key))
    return _page(request, services, visitor, made=Made("key", wanted.name, new.text))


@router.get("/keys/{key_id}/revoke")
def ask_to_revoke(
    request: Request, services: AppServices, visitor: TenantVisitor, key_id: UUID
) -> Response:
    """Says what revoking a key ends, with the button."""
    visitor.require(Permission.MANAGE_KEYS)
    with services.warehouse.as_app(visitor.tenant) as connection:
        found = [key for key in keys.of_tenant(connection, visitor.tenant) if key.id == key_id]
    if not found:
        raise NotFound
    return rendering.page(
        request,
        "key_revoke.html",
        visitor,
        key=found[0],
        is_own=str(key_id) == visitor.acting.id,
        action=f"{PAGE}/{key_id}/revoke",
    )


@router.post("/keys/{key_id}/revoke")
def revoke_key(services: AppServices, visitor: FormVisitor, key_id: UUID) -> Response:
    """Revokes a key and ends its sessions."""
    caller = visitor.require(Permission.MANAGE_KEYS)
    with services.warehouse.as_app(visitor.tenant) as connection:
        keys.revoke(connection, visitor.tenant, key_id, who=caller.name)
    return rendering.go_to(visitor.address(PAGE))


@router.post("/keys/links")
def add_link(
    request: Request, services: AppServices, visitor: FormVisitor, sent: SentBody
) -> Response:
    """Makes a link with which somebody without a key connects a system, and shows it once."""
    caller = visitor.require(Permission.MANAGE_CONNECTION)
    system, minutes = sent.text("system"), sent.text("minutes")
    if system not in registry.system_keys() or minutes not in map(str, LINK_MINUTES):
        raise BadInput("A link needs a system, and one of the times of the form.")
    scope = Scope(visitor.tenant, system)
    link = links.make(
        services.vault,
        scope,
        who=caller.name,
        valid_minutes=int(minutes),
        reconnects_only=sent.text("allows") == "reconnect",
    )
    made = Made("link", registry.system(system).label, link.url)
    return _page(request, services, visitor, made=made)


@router.post("/keys/links/{link_id}/withdraw")
def withdraw_link(
    services: AppServices, visitor: FormVisitor, sent: SentBody, link_id: UUID
) -> Response:
    """Withdraws a link; another can be made."""
    caller = visitor.require(Permission.MANAGE_CONNECTION)
    system = sent.text("system")
    if system not in registry.system_keys():
        raise NotFound
    scope = Scope(visitor.tenant, system)
    with services.warehouse.as_app(visitor.tenant) as connection:
        links.withdraw(connection, scope, link_id, who=caller.name)
    return rendering.go_to(visitor.address(PAGE))


def _page(
    request: Request,
    services: Services,
    visitor: Visitor,
    *,
    before: int | None = None,
    made: Made | None = None,
    refused: str | None = None,
    status_code: int = 200,
) -> Response:
    caller, now = visitor.require(Permission.MANAGE_KEYS), datetime.now(UTC)
    with services.warehouse.as_app(visitor.tenant) as connection:
        rows = [(key, state_of(key, now)) for key in keys.of_tenant(connection, visitor.tenant)]
        open_links = links.of_tenant(connection, visitor.tenant)
        entries = audit_log.of_tenant(
            connection, visitor.tenant, before=before, limit=ENTRIES_SHOWN + 1
        )
    return rendering.page(
        request,
        "keys.html",
        visitor,
        status_code=status_code,
        keys=[row for row in rows if row[1] not in {"revoked", "expired"}],
        former_keys=[row for row in rows if row[1] in {"revoked", "expired"}],
        own_key=caller.id,
        roles=Role,
        links=open_links,
        link_minutes=LINK_MINUTES,
        systems=registry.systems(),
        labels={system.key: system.label for system in registry.systems()},
        entries=[(entry, _details(entry)) for entry in entries[:ENTRIES_SHOWN]],
        older=entries[ENTRIES_SHOWN - 1].id if len(entries) > ENTRIES_SHOWN else None,
        before=before,
        made=made,
        refused=refused,
        once=uuid4(),
        may_connect=visitor.may(Permission.MANAGE_CONNECTION),
        may_audit=visitor.may(Permission.READ_AUDIT),
    )


def state_of(key: Key, now: datetime) -> str:
    """Whether a key works, and what a person should know about it."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    if key.expires_at is not None and key.expires_at - now < SOON:
        return "expires_soon"
    if key.last_used_at is not None:
        return "in_use"
    return "new" if now - key.created_at < NEW else "unused"


def _details(entry: audit_log.AuditEntry) -> dict[str, Any]:
    """The values that the sentence of an entry may name."""
    before, after = entry.before or {}, entry.after or {}
    action, subject = entry.action.replace(".", "_"), entry.subject or "–"
    has_text = f"keys.did.{action}" in texts.catalogue(texts.DEFAULT_LANGUAGE)
    changed = [name for name in after if name in before and before[name] != after[name]]
    return {
        "text": action if has_text else "other",
        "subject": subject,
        "records": subject.split(" ") if action.startswith("deletions_") else None,
        "name": after.get("name") or before.get("name") or subject,
        "state": after.get("state") if action == "connection_state" else None,
        "changed": ", ".join(changed) or "–",
    }
