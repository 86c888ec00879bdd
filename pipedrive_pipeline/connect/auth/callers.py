"""The caller of a request, by its key or by its browser session. Source: RFC 6750."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from fastapi import Request

from pipedrive_pipeline.connect.auth import csrf, keys, sessions, signing
from pipedrive_pipeline.connect.auth.keys import Key
from pipedrive_pipeline.connect.auth.permissions import Permission, Role
from pipedrive_pipeline.connect.auth.sessions import Session
from pipedrive_pipeline.connect.errors import NotSignedIn, OtherTenant
from pipedrive_pipeline.errors import BadInput, UnknownTenant
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

OPERATOR = "the operator"


@dataclass(frozen=True)
class Caller:
    """An authenticated caller, and the tenant that it acts for."""

    name: str  # for the audit log
    tenant: Tenant
    role: Role
    id: str  # of the key; rate limits count by it
    session: Session | None = None  # None: the request carried a key

    @property
    def is_operator(self) -> bool:
        """True for the operator's key, which opens every tenant."""
        return self.id == OPERATOR

    def may(self, permission: Permission) -> bool:
        """True if the caller's role has this permission."""
        return permission in self.role.permissions


@dataclass(frozen=True)
class Claim:
    """The identity that a request claims, before the database has confirmed it."""

    tenant: Tenant
    named_tenant: str | None  # of `X-Tenant`
    key: str | None = None
    session: Session | None = None
    is_operator: bool = False


def carries_key(request: Request) -> bool:
    """True if the request carries a key, valid or not."""
    return _key(request) is not None


def claim_of(request: Request, settings: Settings) -> Claim:
    """The claim of a request: its key, or the browser's session if it carries none.

    Raises:
        NotSignedIn: neither a key nor a session, or a key of unknown form.
        Forbidden: a session's request that changes something and that no page of ours sent.
        BadInput, BadSlug: the operator's `X-Tenant` is missing or is no tenant name.
    """
    text, named_tenant = _key(request), request.headers.get("x-tenant")
    if text is not None:
        if _is_operator_key(text, settings):
            return Claim(_tenant_of_operator(named_tenant), named_tenant, is_operator=True)
        tenant = keys.tenant_named_in(text)
        if tenant is None:
            raise NotSignedIn
        return Claim(tenant, named_tenant, key=text)
    session = sessions.of_browser(request, settings)
    if session is None:
        raise NotSignedIn
    if request.method not in csrf.SAFE_METHODS:
        token = request.headers.get("x-csrf-token", "")
        csrf.require_own_form(request, settings, session.secret, token)
    return claim_of_session(session, named_tenant)


def claim_of_session(session: Session, named_tenant: str | None) -> Claim:
    """The claim of a signed-in browser; the operator's names the tenant.

    Raises:
        BadInput, BadSlug: as `claim_of`.
    """
    if session.tenant is None or session.key_id is None:
        tenant = _tenant_of_operator(named_tenant)
        return Claim(tenant, named_tenant, session=session, is_operator=True)
    return Claim(session.tenant, named_tenant, session=session)


def confirmed(connection: psycopg.Connection, claim: Claim) -> Caller:
    """The caller, in a transaction of the app for the claimed tenant.

    Raises:
        NotSignedIn: the key is unknown or revoked.
        UnknownTenant: the operator names a tenant that does not exist.
        OtherTenant: a tenant's key with another tenant's name.
    """
    tenant, session = claim.tenant, claim.session
    if claim.is_operator:
        if connection.execute(_TENANT_EXISTS, [tenant.slug]).fetchone() is None:
            raise UnknownTenant(tenant.slug)
        return Caller(OPERATOR, tenant, Role.ADMIN, OPERATOR, session)
    key = None
    if claim.key is not None:
        key = keys.by_text(connection, tenant, claim.key)
    elif session is not None and session.key_id is not None:
        key = keys.by_id(connection, tenant, session.key_id)
    if key is None:
        raise NotSignedIn
    if claim.named_tenant is not None and claim.named_tenant != tenant.slug:
        raise OtherTenant
    return Caller(f"key {key.name} ({key.prefix})", tenant, key.role, str(key.id), session)


def caller_of(claim: Claim, warehouse: Warehouse) -> Caller:
    """The caller, in a transaction of its own.

    Raises:
        NotSignedIn, UnknownTenant, OtherTenant: as `confirmed`.
    """
    with warehouse.as_app(claim.tenant) as connection:
        return confirmed(connection, claim)


def key_of(text: str, settings: Settings, warehouse: Warehouse) -> tuple[Tenant | None, Key | None]:
    """The tenant and key that a typed key names; (None, None) for the operator's.

    Raises:
        NotSignedIn: the key is unknown or revoked.
    """
    if _is_operator_key(text, settings):
        return None, None
    tenant = keys.tenant_named_in(text)
    if tenant is None:
        raise NotSignedIn
    with warehouse.as_app(tenant) as connection:
        key = keys.by_text(connection, tenant, text)
    if key is None:
        raise NotSignedIn
    return tenant, key


def _tenant_of_operator(named_tenant: str | None) -> Tenant:
    if not named_tenant:
        raise BadInput("X-Tenant is missing: the operator's key opens every tenant; name one.")
    return Tenant(named_tenant)


def _is_operator_key(text: str, settings: Settings) -> bool:
    expected = settings.operator()
    return expected is not None and signing.is_same(text, expected.get_secret_value())


def _key(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    return request.headers.get("x-api-key")


_TENANT_EXISTS = "select from integration.tenants where tenants.slug = %s"
