"""The session of a browser that signed in with a key: a signed cookie.

The key is looked up at each request, so that a revoked key ends its sessions (`callers.py`).

Source: https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis
"""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request, Response

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.errors import SettingsError
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant

SESSION_SECONDS = 8 * 3_600  # a working day
LOGIN_PURPOSE = "login"
OPERATOR_MARK = "operator"
SEPARATOR = "~"  # in no slug, id or base64


@dataclass(frozen=True)
class Session:
    """A signed-in browser: of a tenant's key, or of the operator (``tenant``, ``key_id`` None)."""

    tenant: Tenant | None
    key_id: UUID | None
    secret: str  # form tokens are derived from it


def begin(
    response: Response, settings: Settings, *, tenant: Tenant | None, key_id: UUID | None
) -> None:
    """Signs this browser in; its former session's cookie is overwritten.

    Raises:
        SettingsError: the cookie would travel unencrypted; the operator must set up TLS.
    """
    _require_private(settings)
    first, second = _marks(settings) if tenant is None or key_id is None else (key_id.hex, tenant)
    ends_at = int(time.time()) + SESSION_SECONDS
    content = SEPARATOR.join((first, str(second), str(ends_at), signing.fresh()))
    response.set_cookie(
        cookie_name(settings, "login"),
        signing.signed(settings, LOGIN_PURPOSE, content),
        max_age=SESSION_SECONDS,
        path="/",
        httponly=True,
        secure=is_https(settings),
        samesite="lax",
    )


def end(response: Response, settings: Settings) -> None:
    """Deletes the browser's cookie."""
    response.delete_cookie(
        cookie_name(settings, "login"), path="/", httponly=True, secure=is_https(settings)
    )


def of_browser(request: Request, settings: Settings) -> Session | None:
    """The browser's session; None if there is none or it has expired."""
    text = request.cookies.get(cookie_name(settings, "login"), "")
    if not signing.is_ours(settings, LOGIN_PURPOSE, text):
        return None
    first, second, ends_at, secret = text.rpartition(".")[0].split(SEPARATOR)
    if time.time() >= int(ends_at):
        return None
    if first == OPERATOR_MARK:
        return Session(None, None, secret) if (first, second) == _marks(settings) else None
    return Session(Tenant(second), UUID(first), secret)


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


def _marks(settings: Settings) -> tuple[str, str]:
    """The content of an operator's session; another operator key makes it invalid."""
    key = settings.operator()
    return OPERATOR_MARK, signing.hashed(key.get_secret_value())[:16] if key else ""
