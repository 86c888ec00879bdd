"""The caller of a request, by its key or by its browser session. Source: RFC 6750.

A key is compared only if its address and account have not failed too often (`attempts.py`). One
statement looks the caller up and counts the request (`rate_limits.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from fastapi import Request
from psycopg.rows import dict_row

from pipedrive_pipeline.connect.auth import attempts, csrf, keys, sessions, signing
from pipedrive_pipeline.connect.auth.keys import Key
from pipedrive_pipeline.connect.auth.permissions import Permission, Role
from pipedrive_pipeline.connect.auth.rate_limits import (
    COUNT_REQUEST,
    CRM,
    MINUTE,
    CountingWindow,
    Quota,
)
from pipedrive_pipeline.connect.auth.sessions import Session
from pipedrive_pipeline.connect.errors import KeyOfCrmUser, NotSignedIn, OtherTenant
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.errors import BadInput, UnknownTenant
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import become_app

OPERATOR = "the operator"


@dataclass(frozen=True)
class Caller:
    """An authenticated caller, and the tenant that it acts for."""

    name: str  # for the audit log
    tenant: Tenant
    role: Role
    id: str  # of the key; rate limits count by it
    quota: Quota
    session: Session | None = None  # None: the request carried a key
    crm_user_id: UUID | None = None  # sees what this user of the CRM may see; None: everything

    @property
    def is_operator(self) -> bool:
        """True for the operator, who may act for every tenant."""
        return self.id == OPERATOR

    def may(self, permission: Permission) -> bool:
        """True if the caller's role has this permission."""
        return permission in self.role.permissions


def carries_key(request: Request) -> bool:
    """True if the request carries a key, valid or not."""
    return _key(request) is not None


def of_request(request: Request, services: Services, window: CountingWindow = MINUTE) -> Caller:
    """The caller by the request's key, or by the browser's session if it carries none.

    Args:
        request: the request.
        services: of the app.
        window: in which it is counted.

    Raises:
        NotSignedIn: neither a key nor a session, or an invalid one.
        TooManyRequests: the caller's limit is reached, or too many wrong keys came before.
        Forbidden: a session's request that changes something and that no page of ours sent.
        OtherTenant: a tenant's key with another tenant's name.
        UnknownTenant: the operator names a tenant that does not exist.
        BadInput, BadSlug: the operator's `X-Tenant` is missing or is no tenant name.
    """
    settings, named_tenant = services.vault.settings, request.headers.get("x-tenant")
    text = _key(request)
    if text is not None:
        return _of_key(request, services, text, named_tenant, window)
    session = sessions.of_browser(request, settings)
    if session is None:
        raise NotSignedIn
    if request.method not in csrf.SAFE_METHODS:
        token = request.headers.get("x-csrf-token", "")
        csrf.require_own_form(request, settings, session.secret, token)
    return of_session(request, services, session, named_tenant, window)


def of_session(
    request: Request,
    services: Services,
    session: Session,
    named_tenant: str | None,
    window: CountingWindow = MINUTE,
) -> Caller:
    """The caller by a browser session; the operator's names the tenant.

    Raises:
        NotSignedIn, TooManyRequests, OtherTenant, UnknownTenant, BadInput, BadSlug: as
            `of_request`.
    """
    with services.warehouse.connect() as connection:
        if session.tenant is not None:
            values = {"session_id": session.id, "secret_hash": session.secret_hash}
            lookup = _Lookup(session.tenant, _SESSION_QUERY, values, window)
        elif sessions.is_open_for_operator(connection, services.vault.settings, session):
            lookup = _lookup_of_operator(named_tenant, window)
        else:
            raise NotSignedIn
        row = lookup.row(connection, attempts.address_of(request))
    if row is None:
        raise lookup.absent()
    return _caller(services, lookup, row, named_tenant, session)


def key_of(request: Request, services: Services, text: str) -> tuple[Tenant | None, Key | None]:
    """The tenant and key that a typed key names; (None, None) for the operator's.

    Raises:
        NotSignedIn: the key is unknown or revoked.
        KeyOfCrmUser: the key is bound to a user of the CRM, and the pages show every record.
        TooManyRequests: too many wrong keys came before.
    """
    address, account = attempts.address_of(request), attempts.account_of(text)
    with services.warehouse.connect() as connection:
        attempts.require_allowed(connection, address, account)
        if _is_operator_key(text, services.vault.settings):
            return None, None
        tenant = keys.tenant_named_in(text)
        if tenant is not None:
            become_app(connection, tenant)
            key = keys.by_text(connection, tenant, text)
            if key is not None and key.crm_user_id is not None:
                raise KeyOfCrmUser
            if key is not None:
                return tenant, key
    attempts.record_failure(services.warehouse, address, account)
    raise NotSignedIn


@dataclass(frozen=True)
class _Lookup:
    """The statement that looks a caller up and counts the request."""

    tenant: Tenant
    query: str
    values: Mapping[str, object]
    window: CountingWindow
    is_operator: bool = False

    def row(self, connection: psycopg.Connection, address: str) -> dict[str, Any] | None:
        """The caller's row, with the role of the app; None if there is no such caller."""
        become_app(connection, self.tenant)
        counted = {"tenant": self.tenant.slug, "address": address, **self.window.values}
        values = {**counted, **self.values}
        cursor = connection.cursor(row_factory=dict_row)
        return cursor.execute(self.query.encode(), values).fetchone()

    def absent(self) -> UnknownTenant | NotSignedIn:
        """The error if there is no such caller."""
        return UnknownTenant(self.tenant.slug) if self.is_operator else NotSignedIn()


def _lookup_of_operator(named_tenant: str | None, window: CountingWindow) -> _Lookup:
    if not named_tenant:
        raise BadInput("X-Tenant is missing: the operator's key opens every tenant; name one.")
    tenant = Tenant(named_tenant)
    return _Lookup(tenant, _OPERATOR_QUERY, {"operator": OPERATOR}, window, is_operator=True)


def _of_key(
    request: Request,
    services: Services,
    text: str,
    named_tenant: str | None,
    window: CountingWindow,
) -> Caller:
    address, account = attempts.address_of(request), attempts.account_of(text)
    lookup, row = None, None
    with services.warehouse.connect() as connection:
        attempts.require_allowed(connection, address, account)
        tenant = keys.tenant_named_in(text)
        if _is_operator_key(text, services.vault.settings):
            lookup = _lookup_of_operator(named_tenant, window)
        elif tenant is not None:
            lookup = _Lookup(tenant, _KEY_QUERY, {"key_hash": signing.hashed(text)}, window)
        if lookup is not None:
            row = lookup.row(connection, address)
    if lookup is not None and row is not None:
        return _caller(services, lookup, row, named_tenant, None)
    if lookup is not None and lookup.is_operator:
        raise lookup.absent()
    attempts.record_failure(services.warehouse, address, account)
    raise NotSignedIn


def _caller(
    services: Services,
    lookup: _Lookup,
    row: Mapping[str, Any],
    named_tenant: str | None,
    session: Session | None,
) -> Caller:
    tenant = lookup.tenant
    limit = services.crm_requests if lookup.window is CRM else services.requests_a_minute
    quota = Quota.after(row["requests"], row["resets_in_seconds"], limit=limit)
    if named_tenant is not None and named_tenant != tenant.slug:
        raise OtherTenant
    if lookup.is_operator:
        return Caller(OPERATOR, tenant, Role.ADMIN, OPERATOR, quota, session)
    name = f"key {row['name']} ({row['key_prefix']})"
    role, user_id = Role(row["role"]), row["crm_user_id"]
    return Caller(name, tenant, role, row["caller_id"], quota, session, user_id)


def _is_operator_key(text: str, settings: Settings) -> bool:
    expected = settings.operator()
    return expected is not None and signing.is_same(text, expected.get_secret_value())


def _key(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    return request.headers.get("x-api-key")


# A key's use is recorded once an hour.
_KEY_QUERY = f"""
with caller as (
    select
        api_keys.id::text as caller_id,
        api_keys.name,
        api_keys.key_prefix,
        api_keys.role,
        api_keys.crm_user_id
    from integration.api_keys
    where api_keys.tenant_id = %(tenant)s
        and api_keys.key_hash = %(key_hash)s
        and {keys.IS_VALID}
),
used as (
    update integration.api_keys
    set last_used_at = clock_timestamp()
    from caller
    where api_keys.tenant_id = %(tenant)s
        and api_keys.id::text = caller.caller_id
        and (
            api_keys.last_used_at is null
            or api_keys.last_used_at < now() - interval '1 hour'
        )
),
{COUNT_REQUEST}
select
    caller.*,
    request_window.*
from caller
cross join request_window
"""
_SESSION_QUERY = f"""
with caller as (
    select
        api_keys.id::text as caller_id,
        api_keys.name,
        api_keys.key_prefix,
        api_keys.role,
        api_keys.crm_user_id
    from integration.browser_sessions
    inner join integration.api_keys
        on api_keys.tenant_id = %(tenant)s
        and api_keys.id = browser_sessions.key_id
        and api_keys.role = browser_sessions.role
        and {keys.IS_VALID}
    where browser_sessions.tenant_id = %(tenant)s
        and browser_sessions.id = %(session_id)s
        and browser_sessions.secret_hash = %(secret_hash)s
        and browser_sessions.expires_at > clock_timestamp()
),
{COUNT_REQUEST}
select
    caller.*,
    request_window.*
from caller
cross join request_window
"""
_OPERATOR_QUERY = f"""
with caller as (
    select %(operator)s::text as caller_id
    from integration.tenants
    where tenants.slug = %(tenant)s
),
{COUNT_REQUEST}
select
    caller.*,
    request_window.*
from caller
cross join request_window
"""
