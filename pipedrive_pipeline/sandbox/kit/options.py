"""Settings that every look-alike has; a system adds its own in a class that derives from this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ServerOptions:
    """Settings of one look-alike."""

    client_id: str = "sandbox-client"
    client_secret: str = "sandbox-secret"  # noqa: S105 (opens only this)
    redirect_uri: str | None = None  # None: any address in the authorize request
    scopes: tuple[str, ...] = ()  # of the app; the user grants all of them or none
    api_token: str | None = None  # the admin's personal token; None: there are none
    consent: Literal["auto", "page"] = "auto"
    has_control: bool = False  # the /_sandbox routes and the buttons of the page
    latency_seconds: float = 0.0
    access_token_seconds: int = 3_600
    rotates_refresh_token: bool = False
    refresh_kills_access_token: bool = False
    wrong_client_status: int = 400
