"""Whom an alert is sent to, and the sending.

Belongs here: the operator's addresses and the tenant's own. Does not belong here: what is worth an
alert (`alerts.py`). Addresses are Apprise's: mail, chat, webhooks
(https://github.com/caronc/apprise/wiki, read 2026-11).
"""

from __future__ import annotations

import logging

from pydantic import SecretStr

from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.cipher import Place
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse.database import Warehouse

log = logging.getLogger(__name__)


def send(
    warehouse: Warehouse, settings: Settings, tenant: Tenant, system: str, *, title: str, body: str
) -> bool:
    """Whether every address was told, and there is one.

    One that cannot be reached is logged, without itself: a run does not fail for it.
    """
    addresses = _addresses(warehouse, settings, tenant, system)
    if not addresses:
        return False
    import apprise

    sender = apprise.Apprise()
    for address in addresses:
        sender.add(address.get_secret_value())
    is_told = bool(sender.notify(title=title, body=body))
    if not is_told:
        log.warning("an alert could not be sent to every address: %s", title)
    return is_told


def _addresses(
    warehouse: Warehouse, settings: Settings, tenant: Tenant, system: str
) -> list[SecretStr]:
    """The operator's addresses and the tenant's own."""
    with warehouse.transaction(tenant=tenant) as connection:
        found = connection.execute(
            "select alert_urls from integration.sync_settings where tenant_id = %s and system = %s",
            [tenant.slug, system],
        ).fetchone()
    own = list(settings.alert_urls)
    if found and found[0]:
        place = Place(tenant, system, "sync_settings.alert_urls")
        opened = open_vault(warehouse, settings).cipher.open(found[0], place)
        own += [SecretStr(url) for url in opened.get_secret_value().split(",")]
    return own
