"""The addresses that events may be sent to: public ones by https, and those that are allowed.

A tenant's admin does not run this machine, so an address must not lead into its network. It is
checked by its letters here; what its name resolves to is checked by the transport when it connects,
and the connection is made to the address that was checked.
"""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from pipedrive_pipeline.connectors.hosts import (
    AllowedHosts,
    checked_base_url,
    refusal_of_public_url,
)
from pipedrive_pipeline.connectors.transport import Limits, open_client
from pipedrive_pipeline.errors import BadInput, HostNotAllowed
from pipedrive_pipeline.settings import Settings

SETTING = "EVENT_ALLOWED_HOSTS"
URL_MAX_CHARACTERS = 2_000
CALL_LIMITS = Limits(
    connect_seconds=5, read_seconds=10, call_seconds=15, body_bytes=16_384, connections=1
)


def allowed_hosts(settings: Settings) -> AllowedHosts:
    """Returns the hosts in the operator's own network that events may be sent to."""
    return AllowedHosts(settings.event_allowed_hosts, SETTING)


def checked_url(url: str, settings: Settings) -> str:
    """Returns an address of an app that events may be sent to.

    Raises:
        BadInput: a tenant may not use it.
    """
    if len(url) > URL_MAX_CHARACTERS:
        raise BadInput(f"url: use at most {URL_MAX_CHARACTERS:,} characters.")
    if "#" in url:
        raise BadInput("url: leave out the part after `#`; it is never sent.")
    refusal = refusal_of_public_url(url)
    if refusal is None:
        return url
    try:
        checked_base_url(url, allowed_hosts(settings))
    except HostNotAllowed:
        raise BadInput(
            f"url: use an https address with a public name ({refusal}). The operator allows "
            f"other hosts in {SETTING}."
        ) from None
    return url


def open_event_client(settings: Settings, limits: Limits = CALL_LIMITS) -> httpx.AsyncClient:
    """Returns a client that connects to allowed addresses only, and follows no redirect.

    It keeps no cookie: one tenant's receiver must not set another one's.
    """
    client = open_client(limits, allowed_hosts(settings))
    client.cookies.jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return client
