"""Sends an alert to the operator's addresses and the tenant's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.hosts import AllowedHosts
from pipedrive_pipeline.connectors.transport import Limits, open_client
from pipedrive_pipeline.errors import BadInput, HostNotAllowed, SettingsError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.status.alert_addresses import AlertAddress, alert_address
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.cipher import alert_addresses
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse.database import Warehouse

WEBHOOK_LIMITS = Limits(connect_seconds=5, read_seconds=10, call_seconds=15, body_bytes=65_536)
OpenClient = Callable[[], httpx.AsyncClient]

log = logging.getLogger(__name__)


def public_client() -> httpx.AsyncClient:
    """A client that connects to public addresses only and follows no redirect."""
    return open_client(WEBHOOK_LIMITS, AllowedHosts())


def notify(
    warehouse: Warehouse,
    settings: Settings,
    tenant: Tenant,
    system: str,
    *,
    title: str,
    body: str,
    client: OpenClient = public_client,
) -> bool:
    """Sends an alert; True if at least one address is configured and all of them were notified.

    If an address cannot be reached, or a tenant may not use it, that is logged without the address:
    it does not fail the run.
    """
    own, refused = _addresses(warehouse, settings, tenant, system)
    webhooks = [address.target for address in own if address.kind == "webhook"]
    others = [address.target for address in own if address.kind != "webhook"]
    others += _operators_addresses(settings)
    if not webhooks and not others:
        return False
    outcomes = [_by_apprise(others, title, body)] if others else []
    outcomes += [_by_webhook(url, title, body, client) for url in webhooks]
    is_complete = all(outcomes) and not refused
    if not is_complete:
        log.warning("an alert could not be sent to every address: %s", title)
    return is_complete


@dataclass(frozen=True)
class TestOutcome:
    """How many addresses of its own a tenant has, and whether all of them took the test."""

    addresses: int
    is_complete: bool


def send_test(
    warehouse: Warehouse, settings: Settings, scope: Scope, *, client: OpenClient = public_client
) -> TestOutcome:
    """Sends an alert to the tenant's own addresses only, so that a person can try them out."""
    label = registry.system(scope.system).label
    title = f"{scope.tenant}: a test of alerts about {label}"
    body = "Nothing has happened. Alerts will arrive here when a person must act."
    own, refused = _addresses(warehouse, settings, scope.tenant, scope.system)
    outcomes = [
        _by_webhook(address.target, title, body, client)
        if address.kind == "webhook"
        else _by_apprise([address.target], title, body)
        for address in own
    ]
    return TestOutcome(len(own) + refused, is_complete=all(outcomes) and not refused)


def notify_operator(settings: Settings, *, title: str, body: str) -> bool:
    """Sends an alert to the operator alone; True if addresses are configured and reached."""
    addresses = _operators_addresses(settings)
    is_complete = bool(addresses) and _by_apprise(addresses, title, body)
    if addresses and not is_complete:
        log.warning("an alert could not be sent to every address: %s", title)
    return is_complete


def check_operators_addresses(settings: Settings) -> int:
    """Returns the number of the operator's addresses; nothing is sent.

    Raises:
        SettingsError: Apprise cannot use one; it is named by its position and scheme.
    """
    import apprise  # takes a second

    urls = _operators_addresses(settings)
    for position, url in enumerate(urls, start=1):
        if apprise.Apprise.instantiate(url, suppress_exceptions=True) is None:
            raise SettingsError(
                f"ALERT_URLS: Apprise cannot use address {position} "
                f"({url.partition('://')[0]}://): its kind is unknown, or a part is missing; "
                "see https://github.com/caronc/apprise/wiki."
            )
    return len(urls)


def _operators_addresses(settings: Settings) -> list[str]:
    return [url.get_secret_value() for url in settings.alert_urls]


def _by_apprise(urls: list[str], title: str, body: str) -> bool:
    import apprise  # takes a second

    sender = apprise.Apprise()
    added = [sender.add(url) for url in urls]
    return bool(sender.notify(title=title, body=body)) and all(added)


def _by_webhook(url: str, title: str, body: str, open_client: OpenClient) -> bool:
    """Posts an alert as JSON; True for an answer of the 200s."""

    async def status() -> int:
        async with open_client() as client, asyncio.timeout(WEBHOOK_LIMITS.call_seconds):
            alert = {"version": "1.0", "type": "warning", "title": title, "message": body}
            async with client.stream("POST", url, json=alert) as answer:
                return answer.status_code

    try:
        return 200 <= asyncio.run(status()) < 300
    except (httpx.HTTPError, HostNotAllowed, TimeoutError) as error:
        log.warning("a webhook for alerts was not reached: %s", type(error).__name__)
        return False


def _addresses(
    warehouse: Warehouse, settings: Settings, tenant: Tenant, system: str
) -> tuple[list[AlertAddress], int]:
    """Returns the tenant's own addresses, checked again, and the number of refused ones."""
    with warehouse.transaction(tenant=tenant) as connection:
        row = connection.execute(
            "select alert_urls from integration.sync_settings where tenant_id = %s and system = %s",
            [tenant.slug, system],
        ).fetchone()
    if not (row and row[0]):
        return [], 0
    place = alert_addresses(Scope(tenant, system))
    opened = open_vault(warehouse, settings).cipher.open(row[0], place)
    addresses, refused = [], 0
    for url in opened.get_secret_value().split(","):
        try:
            addresses.append(alert_address(url, settings))
        except BadInput as error:
            refused += 1
            log.warning("%s: an alert address is refused: %s", tenant, error)
    return addresses, refused
