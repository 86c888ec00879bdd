"""What near real time needs: that the tenant wants it, the source has it, and it can reach us."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from pipedrive_pipeline.connectors.contract import System
from pipedrive_pipeline.connectors.hosts import refusal_of_public_url
from pipedrive_pipeline.settings import Settings


def app_url(settings: Settings) -> str:
    """The address of the Connect app, without a slash at its end."""
    return str(settings.app_url).rstrip("/")


def endpoint(settings: Settings, system: str) -> str:
    """The address that a webhook's token is appended to."""
    return f"{app_url(settings)}/api/integrations/{system}/webhook/"


def why_off(
    settings: Settings,
    system: System,
    *,
    is_wanted: bool,
    source_url: str,
    scopes: Sequence[str],
) -> str | None:
    """Why this tenant gets no webhook, in words; None if it gets one.

    Args:
        settings: with the Connect app's address.
        system: the CRM.
        is_wanted: the tenant's setting `near_real_time`.
        source_url: the address that the tenant's records are read at.
        scopes: that were granted; empty where the source does not say.
    """
    if system.webhooks is None:
        return f"{system.label} tells of no changes"
    if not is_wanted:
        return "it is switched off in the tenant's settings (near_real_time)"
    if scopes and system.webhooks.scopes and not set(scopes) & set(system.webhooks.scopes):
        wanted = " or ".join(system.webhooks.scopes)
        return f"the consent lacks {wanted}; add it to the app, then connect again"
    if _is_loopback(source_url) and _is_loopback(app_url(settings)):
        return None
    refusal = refusal_of_public_url(app_url(settings))
    return refusal and (
        f"{system.label} cannot reach APP_URL, {app_url(settings)}: {refusal}; "
        "docs/near-real-time.md shows a proxy and a tunnel"
    )


def _is_loopback(url: str) -> bool:
    """True for an address of this machine, where the sandbox is."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
