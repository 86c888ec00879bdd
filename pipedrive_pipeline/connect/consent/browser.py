"""The browser that gives a consent: its way to the source, and the secret in its cookie."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.auth.sessions import cookie_name, is_https
from pipedrive_pipeline.connect.consent import oauth_flow
from pipedrive_pipeline.connect.consent.links import LinkTarget
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.vault import pending
from pipedrive_pipeline.vault.errors import NothingToConfirm
from pipedrive_pipeline.vault.pending import PendingGrant

COOKIE_SECONDS = 1_800  # a consent takes two minutes; its state expires after ten
COOKIE_PURPOSE = "browser-session"


def to_source(
    services: Services, scope: Scope, *, who: str, link: LinkTarget | None = None
) -> Response:
    """Redirects to the source with a new session, so that a planted cookie is worth nothing."""
    session = signing.fresh()
    consent = oauth_flow.begin(services.vault, scope, session=session, who=who, link=link)
    answer = RedirectResponse(consent.url, status_code=302)
    set_cookie(answer, services.vault.settings, session)
    return answer


def grant_of_session(services: Services, system: str, session: str) -> PendingGrant:
    """The consent that this browser brought.

    Raises:
        NothingToConfirm: it brought none, or one of another system.
    """
    grant = pending.of_session(services.vault, signing.hashed(session)) if session else None
    if grant is None or grant.scope.system != system:
        raise NothingToConfirm
    return grant


def set_cookie(response: Response, settings: Settings, secret: str) -> None:
    """Stores the secret in the browser; a former consent's secret is overwritten."""
    response.set_cookie(
        cookie_name(settings, "connect"),
        signing.signed(settings, COOKIE_PURPOSE, secret),
        max_age=COOKIE_SECONDS,
        path="/",
        httponly=True,
        secure=is_https(settings),
        samesite="lax",  # the callback is a navigation that comes from the source
    )


def secret_of(request: Request, settings: Settings) -> str:
    """The browser's secret; empty if the request carries none that we signed."""
    text = request.cookies.get(cookie_name(settings, "connect"), "")
    if not signing.is_ours(settings, COOKIE_PURPOSE, text):
        return ""
    return text.rpartition(".")[0]
