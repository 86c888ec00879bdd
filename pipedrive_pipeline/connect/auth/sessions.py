"""Sessions of browsers that signed in with a key.

The cookie names a row of `integration.browser_sessions`: signing out, revoking the key, changing
its role and changing `OPERATOR_KEY` end the session on the server.

Source: https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
from fastapi import Request, Response

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.auth.keys import Key
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.errors import SettingsError
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant

SESSION_SECONDS = 8 * 3_600  # a working day
SESSIONS_OF_KEY_MAX = 50  # the oldest is ended
LOGIN_PURPOSE = "login"
OPERATOR_MARK = "operator"
SEPARATOR = "~"  # in no slug, id or base64


@dataclass(frozen=True)
class Session:
    """The session that a browser's cookie names; only the database knows whether it is open."""

    id: UUID
    tenant: Tenant | None  # None: the operator's
    secret: str  # form tokens are derived from it

    @property
    def secret_hash(self) -> str:
        """The hash that is stored."""
        return signing.hashed(self.secret)


def begin(
    connection: psycopg.Connection, settings: Settings, tenant: Tenant | None, key: Key | None
) -> Session:
    """Stores a session of this key, or of the operator if ``key`` is None.

    The key's oldest sessions beyond the limit are deleted.

    Raises:
        SettingsError: the cookie would travel unencrypted; the operator must set up TLS.
    """
    _require_private(settings)
    session = Session(uuid4(), tenant, signing.fresh())
    values = {
        "id": session.id,
        "tenant": tenant and tenant.slug,
        "key_id": key and key.id,
        "role": key.role if key else Role.ADMIN,
        "secret_hash": session.secret_hash,
        "operator_key_hash": None if key else _operator_key_hash(settings),
        "seconds": SESSION_SECONDS,
    }
    connection.execute(_DELETE_SURPLUS, {**values, "kept": SESSIONS_OF_KEY_MAX - 1})
    connection.execute(_ADD, values)
    return session


def delete_expired(connection: psycopg.Connection) -> None:
    """Deletes the expired sessions of all tenants; as the engine."""
    connection.execute("delete from integration.browser_sessions where expires_at < now()")


def is_open_for_operator(
    connection: psycopg.Connection, settings: Settings, session: Session
) -> bool:
    """True if this is an open session of the current operator's key; as the engine."""
    values = {
        "id": session.id,
        "secret_hash": session.secret_hash,
        "operator_key_hash": _operator_key_hash(settings),
    }
    return connection.execute(_OPEN_FOR_OPERATOR, values).fetchone() is not None


def end(connection: psycopg.Connection, session: Session) -> None:
    """Ends the session on the server."""
    values = {"id": session.id, "secret_hash": session.secret_hash}
    connection.execute(_END, values)


def set_cookie(response: Response, settings: Settings, session: Session) -> None:
    """Gives the browser the session's cookie; a former one is overwritten."""
    tenant = session.tenant.slug if session.tenant else OPERATOR_MARK
    content = SEPARATOR.join((session.id.hex, tenant, session.secret))
    response.set_cookie(
        cookie_name(settings, "login"),
        signing.signed(settings, LOGIN_PURPOSE, content),
        max_age=SESSION_SECONDS,
        path="/",
        httponly=True,
        secure=is_https(settings),
        samesite="lax",
    )


def delete_cookie(response: Response, settings: Settings) -> None:
    """Deletes the browser's cookie."""
    response.delete_cookie(
        cookie_name(settings, "login"), path="/", httponly=True, secure=is_https(settings)
    )


def of_browser(request: Request, settings: Settings) -> Session | None:
    """The session that the cookie names; None without a cookie that we signed."""
    text = request.cookies.get(cookie_name(settings, "login"), "")
    if not signing.is_ours(settings, LOGIN_PURPOSE, text):
        return None
    parts = text.rpartition(".")[0].split(SEPARATOR)
    if len(parts) != 3:  # a cookie of an earlier release
        return None
    session_id, tenant, secret = parts
    return Session(UUID(session_id), None if tenant == OPERATOR_MARK else Tenant(tenant), secret)


def cookie_name(settings: Settings, name: str) -> str:
    """The cookie's name; `__Host-` binds it to this host and needs https."""
    return f"__Host-{name}" if is_https(settings) else name


def is_https(settings: Settings) -> bool:
    """True if browsers reach this app by https."""
    return settings.app_url.scheme == "https"


def _require_private(settings: Settings) -> None:
    host = (settings.app_url.host or "").strip("[]")
    if not (is_https(settings) or host == "localhost" or _is_loopback(host)):
        raise SettingsError(
            "APP_URL is plain http to another machine, where anybody on the way could read the "
            "session: put a proxy with TLS in front, and set APP_URL to its https address."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _operator_key_hash(settings: Settings) -> str:
    key = settings.operator()
    return signing.hashed(key.get_secret_value()) if key else ""


_DELETE_SURPLUS = """
delete from integration.browser_sessions
where browser_sessions.id in (
    select surplus.id
    from integration.browser_sessions as surplus
    where surplus.key_id is not distinct from %(key_id)s
    order by surplus.created_at desc
    offset %(kept)s
)
"""
_ADD = """
insert into integration.browser_sessions (
    id, tenant_id, key_id, role, secret_hash, operator_key_hash, expires_at
)
values (
    %(id)s, %(tenant)s, %(key_id)s, %(role)s, %(secret_hash)s, %(operator_key_hash)s,
    now() + make_interval(secs => %(seconds)s)
)
"""
_OPEN_FOR_OPERATOR = """
select
from integration.browser_sessions
where browser_sessions.id = %(id)s
    and browser_sessions.secret_hash = %(secret_hash)s
    and browser_sessions.operator_key_hash = %(operator_key_hash)s
    and browser_sessions.expires_at > clock_timestamp()
"""
_END = """
delete from integration.browser_sessions
where browser_sessions.id = %(id)s
    and browser_sessions.secret_hash = %(secret_hash)s
"""
