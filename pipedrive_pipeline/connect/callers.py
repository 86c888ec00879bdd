"""Who is asking: the operator with a key, or a browser in the middle of a consent.

Belongs here: keys, cookies, and the proof that a form is ours. Does not belong here: what a caller
may then do (`routes.py`). Rests on RFC 6750, RFC 7617 and
https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request, Response

from pipedrive_pipeline.connect import signing
from pipedrive_pipeline.connect.refusals import Forbidden, NotSignedIn
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant

SESSION_SECONDS = 1_800  # a consent takes two minutes; its state lives ten
SESSION_PURPOSE = "browser-session"
FORM_PURPOSE = "form"
OPERATOR = "the operator"


@dataclass(frozen=True)
class Caller:
    """Who may act, and for which tenant."""

    name: str
    tenant: Tenant


def carries_key(request: Request) -> bool:
    """Whether the request brings a key, a right one or not."""
    return _key(request) is not None


def operator(request: Request, settings: Settings) -> Caller:
    """The operator, acting for the tenant that `X-Tenant` names.

    Raises:
        NotSignedIn: no key, or not the operator's.
        BadInput, BadSlug: `X-Tenant` is missing or no tenant's name.
    """
    expected, key = settings.operator(), _key(request)
    if expected is None or key is None or not signing.is_same(key, expected.get_secret_value()):
        raise NotSignedIn
    slug = request.headers.get("x-tenant")
    if not slug:
        raise BadInput("X-Tenant is missing: the operator's key opens every tenant; name one.")
    return Caller(OPERATOR, Tenant(slug))


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
    """The browser holds this session from now on; a former one is worth nothing."""
    response.set_cookie(
        _cookie_name(settings),
        signing.signed(settings, SESSION_PURPOSE, session),
        max_age=SESSION_SECONDS,
        path="/",
        httponly=True,
        secure=_is_https(settings),
        samesite="lax",  # the callback is a navigation that comes from the source
    )


def session_of(request: Request, settings: Settings) -> str:
    """The browser's session; empty if it brings none that we signed."""
    text = request.cookies.get(_cookie_name(settings), "")
    if not signing.is_ours(settings, SESSION_PURPOSE, text):
        return ""
    return text.rpartition(".")[0]


def form_token(settings: Settings, session: str) -> str:
    """What a form of ours carries, so that nobody else's form does."""
    return signing.signed(settings, FORM_PURPOSE, signing.hashed(session))


def require_own_form(request: Request, settings: Settings, session: str, token: str) -> None:
    """Nothing, if the request was sent by a page of ours in this session.

    Raises:
        Forbidden: it was not.
    """
    own = urlsplit(str(settings.app_url))
    origin, fetch_site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    allowed = {None, f"{own.scheme}://{own.netloc}"}
    if fetch_site == "same-origin":
        # Under our own `no-referrer` a browser names no origin, even to the page's own site; what
        # it says here no page can forge.
        allowed.add("null")
    if origin not in allowed or fetch_site not in {None, "same-origin"}:
        raise Forbidden
    if not session or not signing.is_same(token, form_token(settings, session)):
        raise Forbidden


def _key(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    return request.headers.get("x-api-key")


def _cookie_name(settings: Settings) -> str:
    # `__Host-` binds a cookie to this host and to https; browsers refuse it on plain http.
    return "__Host-connect" if _is_https(settings) else "connect"


def _is_https(settings: Settings) -> bool:
    return settings.app_url.scheme == "https"
