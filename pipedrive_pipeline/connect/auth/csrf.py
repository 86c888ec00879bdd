"""Protection of browser sessions against requests that another site sends.

Source: https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.errors import Forbidden
from pipedrive_pipeline.settings import Settings

FORM_PURPOSE = "form"
OWN_NAVIGATIONS = frozenset({None, "none", "same-origin"})  # None: a browser of before 2023
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def form_token(settings: Settings, secret: str) -> str:
    """The token that every form of this session carries."""
    return signing.signed(settings, FORM_PURPOSE, signing.hashed(secret))


def require_own_form(
    request: Request, settings: Settings, secret: str, token: str, *, is_strict: bool = True
) -> None:
    """Returns if a page of ours sent the request in this session.

    Args:
        request: with `Origin` and `Sec-Fetch-Site` as the browser sent them.
        settings: with our own address.
        secret: of the session.
        token: of the form.
        is_strict: refuses a request without `Origin`.

    Raises:
        Forbidden: another page, or no page, sent it.
    """
    require_own_origin(request, settings, is_strict=is_strict)
    if not secret or not signing.is_same(token, form_token(settings, secret)):
        raise Forbidden


def require_own_origin(request: Request, settings: Settings, *, is_strict: bool = True) -> None:
    """Returns if the request's origin is our own address.

    Raises:
        Forbidden: it is another one, or it is absent and ``is_strict`` is True.
    """
    own = urlsplit(str(settings.app_url))
    origin, fetch_site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    allowed = {f"{own.scheme}://{own.netloc}"}
    if fetch_site == "same-origin":
        # Under our own `no-referrer` a browser sends `Origin: null`, even to the page's own site;
        # no page can forge `Sec-Fetch-Site`.
        allowed.add("null")
    is_absent = origin is None and not is_strict
    if not (is_absent or origin in allowed) or fetch_site not in {None, "same-origin"}:
        raise Forbidden


def require_own_navigation(request: Request) -> None:
    """Returns if a page of ours, or the person's own address bar, led here.

    Raises:
        Forbidden: another site led the browser here.
    """
    if request.headers.get("sec-fetch-site") not in OWN_NAVIGATIONS:
        raise Forbidden
