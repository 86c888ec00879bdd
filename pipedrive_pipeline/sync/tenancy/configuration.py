"""When and how a tenant is synced, as a person set it.

Belongs here: reading and saving `integration.sync_settings`. Does not belong here: acting on it
(`due.py`, `budget.py`, `alerts.py`), or the limits of each value (the table's own, and `connect/`).

Alert addresses hold tokens of chat services: they are sealed, and shown with what follows their
scheme masked. An address that is sent back masked stays what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import time
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from pydantic import SecretStr

from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.status.alert_addresses import MASK, alert_address
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.cipher import Cipher, SecretLocation
from pipedrive_pipeline.warehouse import audit_log
from pipedrive_pipeline.warehouse.database import Warehouse

PERSONS = frozenset({"persons", "person_fields"})  # what `sync_persons` is about


@dataclass(frozen=True)
class SyncConfig:
    """The settings of one tenant and system; a tenant that set nothing has these."""

    auto_sync: bool = True
    sync_time: time = time(2, 0)
    time_zone: str | None = None
    every_hours: int | None = None
    incremental_sync: bool = True
    sync_persons: bool = True
    sync_custom_fields: bool = True
    sweep_every_hours: int | None = None
    budget_share: float = 0.5
    daily_token_budget: int | None = None
    alert_urls: tuple[str, ...] = ()  # in clear
    erase_deleted_after_days: int | None = None

    def facts(self) -> dict[str, Any]:
        """For people and the audit log: addresses masked, the time as `02:00`."""
        masked = [mask(url) for url in self.alert_urls]
        return asdict(self) | {"sync_time": f"{self.sync_time:%H:%M}", "alert_urls": masked}


def mask(url: str) -> str:
    """An alert address without what only its owner may know."""
    return url.partition(":")[0] + MASK


def read(connection: psycopg.Connection, cipher: Cipher, tenant: Tenant, system: str) -> SyncConfig:
    """The settings as they stand."""
    cursor = connection.cursor(row_factory=dict_row)
    row = cursor.execute(_READ, {"tenant": tenant.slug, "system": system}).fetchone()
    if row is None:
        return SyncConfig()
    sealed = row.pop("alert_urls")
    opened = cipher.open(sealed, _place(tenant, system)).get_secret_value() if sealed else ""
    return SyncConfig(**row, alert_urls=tuple(opened.split(",")) if opened else ())


def save(
    connection: psycopg.Connection,
    cipher: Cipher,
    tenant: Tenant,
    system: str,
    changed: Mapping[str, Any],
    *,
    settings: Settings,
    who: str,
) -> SyncConfig:
    """The settings with what changed; the rest stays as it is.

    Args:
        connection: a transaction that holds `Tenant.settings_lock`: of two editors at once the
            second waits, and its answer shows what the first has saved.
        cipher: for the alert addresses.
        tenant: whose.
        system: of which CRM.
        changed: values by the names of `SyncConfig`.
        settings: for the operator's mail relay, which tenants' e-mail goes by.
        who: for the audit log.

    Raises:
        BadInput: an alert address that cannot be used.
    """
    before = read(connection, cipher, tenant, system)
    given = dict(changed)
    if "alert_urls" in given:
        given["alert_urls"] = _unmasked(given["alert_urls"], before.alert_urls, settings)
    after = replace(before, **given)
    if after == before:
        return after
    values = {one.name: getattr(after, one.name) for one in fields(after)}
    joined = SecretStr(",".join(after.alert_urls))
    values["alert_urls"] = cipher.seal(joined, _place(tenant, system)) if after.alert_urls else None
    connection.execute(
        _save(values), {**values, "tenant": tenant.slug, "system": system, "who": who}
    )
    audit_log.note(
        connection,
        tenant,
        who=who,
        action="sync_config.save",
        subject=system,
        before=before.facts(),
        after=after.facts(),
    )
    return after


def entities_left_out(warehouse: Warehouse, tenant: Tenant, system: str) -> frozenset[str]:
    """Kinds of record that the tenant does not want to be read; their rows stay as they are."""
    with warehouse.transaction(tenant) as connection:
        row = connection.execute(_SYNC_PERSONS, (tenant.slug, system)).fetchone()
    return frozenset() if row is None or row[0] else PERSONS


def _unmasked(urls: Sequence[str], saved: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """The addresses in clear: masked ones are taken from the saved ones, in order.

    Raises:
        BadInput: a tenant may not use one of the others.
    """
    left = list(saved)
    clear = []
    for url in urls:
        same = next((former for former in left if url == mask(former)), None)
        if same:
            left.remove(same)
        else:
            alert_address(url, settings)
        clear.append(same or url)
    return tuple(clear)


def _place(tenant: Tenant, system: str) -> SecretLocation:
    return SecretLocation(tenant, system, "sync_settings.alert_urls")


def _save(values: Mapping[str, object]) -> sql.Composed:
    names = [sql.Identifier(name) for name in values]
    return sql.SQL(
        "insert into integration.sync_settings (tenant_id, system, {names}, updated_at, updated_by)"
        " values (%(tenant)s, %(system)s, {values}, clock_timestamp(), %(who)s)"
        " on conflict (tenant_id, system) do update set {updates},"
        " updated_at = excluded.updated_at, updated_by = excluded.updated_by"
    ).format(
        names=sql.SQL(", ").join(names),
        values=sql.SQL(", ").join(sql.Placeholder(name) for name in values),
        updates=sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(name) for name in names),
    )


_SYNC_PERSONS = """
select sync_settings.sync_persons
from integration.sync_settings
where sync_settings.tenant_id = %s
    and sync_settings.system = %s
"""
_READ = """
select
    sync_settings.auto_sync,
    sync_settings.sync_time,
    sync_settings.time_zone,
    sync_settings.every_hours,
    sync_settings.incremental_sync,
    sync_settings.sync_persons,
    sync_settings.sync_custom_fields,
    sync_settings.sweep_every_hours,
    sync_settings.budget_share::float8 as budget_share,
    sync_settings.daily_token_budget,
    sync_settings.alert_urls,
    sync_settings.erase_deleted_after_days
from integration.sync_settings
where sync_settings.tenant_id = %(tenant)s
    and sync_settings.system = %(system)s
"""
