"""The cookie that ties a consent to the browser that began it."""

from __future__ import annotations

from fastapi import Request, Response

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.auth.sessions import cookie_name, is_https
from pipedrive_pipeline.settings import Settings

COOKIE_SECONDS = 1_800  # a consent takes two minutes; its state expires after ten
COOKIE_PURPOSE = "browser-session"


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
