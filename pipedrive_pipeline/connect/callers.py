"""Who is asking, for which tenant, and as what: a key, a signed-in browser, or one amid a consent.

Belongs here: turning what a request carries into a caller. Does not belong here: what a route asks
for (`requests.py`), or the keys themselves (`keys.py`). Rests on RFC 6750 and RFC 7617.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import psycopg
from fastapi import Request, Response

from pipedrive_pipeline.connect import keys, logins, signing
from pipedrive_pipeline.connect.keys import Key, Role
from pipedrive_pipeline.connect.logins import SAFE_METHODS, Login, cookie_name, is_https
from pipedrive_pipeline.connect.refusals import NotSignedIn, OtherTenant
from pipedrive_pipeline.errors import BadInput, UnknownTenant
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

SESSION_SECONDS = 1_800  # a consent takes two minutes; its state lives ten
SESSION_PURPOSE = "browser-session"
OPERATOR = "the operator"


@dataclass(frozen=True)
class Caller:
    """Who may act, for which tenant, and as what."""

    name: str  # for the audit log
    tenant: Tenant
    role: Role
    id: str  # of the key; what its window is counted by
    login: Login | None = None  # None: it came with a key

    @property
    def is_operator(self) -> bool:
        """Whether the key opens every tenant."""
        return self.id == OPERATOR


@dataclass(frozen=True)
class Claim:
    """Who a request says it comes from; the database is yet to be asked whether it is true."""

    tenant: Tenant
    named: str | None  # the tenant of `X-Tenant`
    key: str | None = None  # its text
    login: Login | None = None  # None: it came with a key
    is_operators: bool = False


def carries_key(request: Request) -> bool:
    """Whether the request brings a key, a right one or not."""
    return _key(request) is not None


def claim_of(request: Request, settings: Settings) -> Claim:
    """Who sends this, by its key, or by the browser's session where it brings none.

    Raises:
        NotSignedIn: no key and no session, or one that is none of ours.
        Forbidden: a session's request that changes something and was not sent by a page of ours.
        BadInput, BadSlug: the operator's `X-Tenant` is missing or cannot be a tenant's name.
    """
    text, named = _key(request), request.headers.get("x-tenant")
    if text is not None:
        if _is_operators(text, settings):
            return Claim(_named(named), named, is_operators=True)
        tenant = keys.tenant_named_in(text)
        if tenant is None:
            raise NotSignedIn
        return Claim(tenant, named, key=text)
    login = logins.of_browser(request, settings)
    if login is None:
        raise NotSignedIn
    if request.method not in SAFE_METHODS:
        token = request.headers.get("x-csrf-token", "")
        logins.require_own_form(request, settings, login.secret, token)
    return claim_of_login(login, named)


def claim_of_login(login: Login, named: str | None) -> Claim:
    """Who a browser is signed in as, for the tenant that it names if it is the operator.

    Raises:
        BadInput, BadSlug: as `claim_of`.
    """
    if login.tenant is None or login.key_id is None:
        return Claim(_named(named), named, login=login, is_operators=True)
    return Claim(login.tenant, named, login=login)


def confirmed(connection: psycopg.Connection, claim: Claim) -> Caller:
    """Who that is, in a transaction of the app for the tenant that is claimed.

    Raises:
        NotSignedIn: the key opens nothing, or was revoked.
        UnknownTenant: the operator names a tenant that is not there.
        OtherTenant: a tenant's key with another tenant's name.
    """
    tenant, login = claim.tenant, claim.login
    if claim.is_operators:
        if connection.execute(_KNOWN, [tenant.slug]).fetchone() is None:
            raise UnknownTenant(tenant.slug)
        return Caller(OPERATOR, tenant, Role.ADMIN, OPERATOR, login)
    key = None
    if claim.key is not None:
        key = keys.opened(connection, tenant, claim.key)
    elif login is not None and login.key_id is not None:
        key = keys.working(connection, tenant, login.key_id)
    if key is None:
        raise NotSignedIn
    if claim.named is not None and claim.named != tenant.slug:
        raise OtherTenant
    return Caller(f"key {key.name} ({key.prefix})", tenant, key.role, str(key.id), login)


def caller_of(claim: Claim, warehouse: Warehouse) -> Caller:
    """Who that is, in a transaction of its own.

    Raises:
        NotSignedIn, UnknownTenant, OtherTenant: as `confirmed`.
    """
    with warehouse.as_app(claim.tenant) as connection:
        return confirmed(connection, claim)


def key_of(text: str, settings: Settings, warehouse: Warehouse) -> tuple[Tenant | None, Key | None]:
    """What a typed key opens: a tenant with its key, or (None, None) for the operator's.

    Raises:
        NotSignedIn: nothing.
    """
    if _is_operators(text, settings):
        return None, None
    tenant = keys.tenant_named_in(text)
    if tenant is None:
        raise NotSignedIn
    with warehouse.as_app(tenant) as connection:
        key = keys.opened(connection, tenant, text)
    if key is None:
        raise NotSignedIn
    return tenant, key


def is_the_system(request: Request, settings: Settings) -> bool:
    """Whether Basic auth names our own app's id and secret, as an uninstall notice does."""
    client_id, client_secret = settings.pipedrive_client_id, settings.pipedrive_client_secret
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if client_id is None or client_secret is None or scheme.lower() != "basic":
        return False
    try:
        given = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return False
    return signing.is_same(given, f"{client_id}:{client_secret.get_secret_value()}")


def keep_session(response: Response, settings: Settings, session: str) -> None:
    """The browser holds this consent's session from now on; a former one is worth nothing."""
    response.set_cookie(
        cookie_name(settings, "connect"),
        signing.signed(settings, SESSION_PURPOSE, session),
        max_age=SESSION_SECONDS,
        path="/",
        httponly=True,
        secure=is_https(settings),
        samesite="lax",  # the callback is a navigation that comes from the source
    )


def session_of(request: Request, settings: Settings) -> str:
    """The browser's session amid a consent; empty if it brings none that we signed."""
    text = request.cookies.get(cookie_name(settings, "connect"), "")
    if not signing.is_ours(settings, SESSION_PURPOSE, text):
        return ""
    return text.rpartition(".")[0]


def _named(named: str | None) -> Tenant:
    if not named:
        raise BadInput("X-Tenant is missing: the operator's key opens every tenant; name one.")
    return Tenant(named)


def _is_operators(text: str, settings: Settings) -> bool:
    expected = settings.operator()
    return expected is not None and signing.is_same(text, expected.get_secret_value())


def _key(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    return request.headers.get("x-api-key")


_KNOWN = "select from integration.tenants where tenants.slug = %s"
