"""A browser that signed in with a key: a signed cookie, and the proof that a request is ours.

Belongs here: the cookie's content and the check of `Origin`. Does not belong here: whether the key
still works (`callers.py` asks the database each time, so that a revoked key ends its sessions).
Rests on https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis and
https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Request, Response

from pipedrive_pipeline.connect import signing
from pipedrive_pipeline.connect.refusals import Forbidden
from pipedrive_pipeline.errors import SettingsError
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant

LOGIN_SECONDS = 8 * 3_600  # a working day
LOGIN_PURPOSE = "login"
FORM_PURPOSE = "form"
OPERATOR_MARK = "operator"
SEPARATOR = "~"  # in no slug, id or base64
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Login:
    """Who signed in: with a tenant's key, or as the operator (``tenant`` and ``key_id`` None)."""

    tenant: Tenant | None
    key_id: UUID | None
    secret: str  # of this session; form tokens are made from it


def begin(
    response: Response, settings: Settings, *, tenant: Tenant | None, key_id: UUID | None
) -> None:
    """This browser is signed in from now on; a former session is worth nothing.

    Raises:
        SettingsError: the cookie would travel in clear; the operator must put TLS in front.
    """
    _require_private(settings)
    first, second = _marks(settings) if tenant is None or key_id is None else (key_id.hex, tenant)
    ends_at = int(time.time()) + LOGIN_SECONDS
    content = SEPARATOR.join((first, str(second), str(ends_at), signing.fresh()))
    response.set_cookie(
        cookie_name(settings, "login"),
        signing.signed(settings, LOGIN_PURPOSE, content),
        max_age=LOGIN_SECONDS,
        path="/",
        httponly=True,
        secure=is_https(settings),
        samesite="lax",
    )


def end(response: Response, settings: Settings) -> None:
    """This browser is signed out."""
    response.delete_cookie(
        cookie_name(settings, "login"), path="/", httponly=True, secure=is_https(settings)
    )


def of_browser(request: Request, settings: Settings) -> Login | None:
    """Who is signed in; None if nobody is, or it is too long ago."""
    text = request.cookies.get(cookie_name(settings, "login"), "")
    if not signing.is_ours(settings, LOGIN_PURPOSE, text):
        return None
    first, second, ends_at, secret = text.rpartition(".")[0].split(SEPARATOR)
    if time.time() >= int(ends_at):
        return None
    if first == OPERATOR_MARK:
        return Login(None, None, secret) if (first, second) == _marks(settings) else None
    return Login(Tenant(second), UUID(first), secret)


def form_token(settings: Settings, secret: str) -> str:
    """What a form of ours carries, so that nobody else's form does."""
    return signing.signed(settings, FORM_PURPOSE, signing.hashed(secret))


def require_own_form(
    request: Request, settings: Settings, secret: str, token: str, *, is_strict: bool = True
) -> None:
    """Nothing, if the request was sent by a page of ours in this session.

    Args:
        request: with `Origin` and `Sec-Fetch-Site` as the browser sent them.
        settings: with our own address.
        secret: of the session.
        token: of the form.
        is_strict: whether a request that does not say where it comes from is refused.

    Raises:
        Forbidden: it was not.
    """
    require_own_origin(request, settings, is_strict=is_strict)
    if not secret or not signing.is_same(token, form_token(settings, secret)):
        raise Forbidden


def require_own_origin(request: Request, settings: Settings, *, is_strict: bool = True) -> None:
    """Nothing, if a page of ours sent this.

    Raises:
        Forbidden: another one did, or nobody says who.
    """
    own = urlsplit(str(settings.app_url))
    origin, fetch_site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    allowed = {f"{own.scheme}://{own.netloc}"}
    if fetch_site == "same-origin":
        # Under our own `no-referrer` a browser names no origin, even to the page's own site; what
        # it says here no page can forge.
        allowed.add("null")
    is_silent = origin is None and not is_strict
    if not (is_silent or origin in allowed) or fetch_site not in {None, "same-origin"}:
        raise Forbidden


def cookie_name(settings: Settings, name: str) -> str:
    """The cookie's name: `__Host-` binds it to this host and https, which plain http cannot."""
    return f"__Host-{name}" if is_https(settings) else name


def is_https(settings: Settings) -> bool:
    """Whether browsers reach this app by https."""
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
    """What an operator's session holds; another key, or none, and it is over."""
    key = settings.operator()
    return OPERATOR_MARK, signing.hashed(key.get_secret_value())[:16] if key else ""
