"""The alert addresses that a tenant may use: chat, webhooks, e-mail by the operator's relay.

A tenant's admin does not run this machine, so an address must not lead into its network, switch off
the check of a certificate, or read a file. The operator's own `ALERT_URLS` may be any Apprise
address (https://github.com/caronc/apprise/wiki, read 2026-11).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from pipedrive_pipeline.connectors.hosts import refusal_of_public_url
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.settings import Settings

MASK = "://***"
# Chat services whose Apprise plugin sends to a fixed host; the address cannot change it.
FIXED_HOST_SCHEMES = frozenset({"slack", "discord", "tgram"})
TEAMS_SCHEME = "workflows"  # its address names the host of a Power Automate flow
TEAMS_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.logic\.azure\.com(:443)?")
WEBHOOK_SCHEMES = frozenset({"https", "jsons"})
MAIL_SCHEMES = frozenset({"mailto", "mailtos"})
MAILBOX = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
ALLOWED = (
    "slack://…, discord://…, tgram://…, workflows://….logic.azure.com/… (Teams), "
    "https://… (a webhook) or mailto:person@example.com"
)


@dataclass(frozen=True)
class AlertAddress:
    """An address that alerts may be sent to.

    Attributes:
        kind: the way to send to it.
        target: an Apprise address for ``chat`` and ``mail``, an https URL for ``webhook``.
    """

    kind: Literal["chat", "mail", "webhook"]
    target: str


def alert_address(url: str, settings: Settings) -> AlertAddress:
    """Returns a tenant's address, checked by host name; a webhook's IP is checked when it is sent.

    Args:
        url: the address as the tenant's admin entered it.
        settings: names the operator's mail relay.

    Raises:
        BadInput: a tenant may not use it.
    """
    scheme = url.partition(":")[0].lower()
    if url.endswith(MASK):
        raise BadInput(f"alertUrls: {scheme[:20]}{MASK} is masked and no saved address fits it.")
    if scheme in WEBHOOK_SCHEMES:
        return _webhook("https" + url[len(scheme) :])
    if scheme in MAIL_SCHEMES:
        return _mail(url, settings)
    if scheme in FIXED_HOST_SCHEMES or scheme == TEAMS_SCHEME:
        return _chat(url, scheme)
    raise BadInput(f"alertUrls: {scheme[:20]}: addresses of tenants are {ALLOWED}.")


def _webhook(url: str) -> AlertAddress:
    refusal = refusal_of_public_url(url)
    if refusal:
        raise BadInput(f"alertUrls: a webhook needs https and a public name ({refusal}).")
    return AlertAddress("webhook", url)


def _chat(url: str, scheme: str) -> AlertAddress:
    import apprise  # takes a second

    # Apprise's options switch off certificates (verify=no), read files (template=) and the like.
    if "?" in url or "#" in url:
        raise BadInput(f"alertUrls: {scheme}:// takes no options behind a question mark.")
    if scheme == TEAMS_SCHEME and not TEAMS_HOST.fullmatch(urlsplit(url).netloc.lower()):
        raise BadInput("alertUrls: workflows:// leads to a host below logic.azure.com.")
    if apprise.Apprise.instantiate(url, suppress_exceptions=True) is None:
        raise BadInput(
            f"alertUrls: {scheme}:// lacks a part; see https://github.com/caronc/apprise/wiki."
        )
    return AlertAddress("chat", url)


def _mail(url: str, settings: Settings) -> AlertAddress:
    mailbox = url.partition(":")[2].removeprefix("//")
    if not MAILBOX.fullmatch(mailbox):
        raise BadInput("alertUrls: write mailto:person@example.com, without options.")
    relays = (relay.get_secret_value() for relay in settings.alert_urls)
    relay = next((url for url in relays if url.partition(":")[0].lower() in MAIL_SCHEMES), None)
    if relay is None:
        raise BadInput(
            "alertUrls: e-mail needs the operator's relay, a mailto:// or mailtos:// in ALERT_URLS."
        )
    parts = urlsplit(relay)
    options = [(name, value) for name, value in parse_qsl(parts.query) if name.lower() != "to"]
    return AlertAddress(
        "mail", parts._replace(query=urlencode([*options, ("to", mailbox)])).geturl()
    )
