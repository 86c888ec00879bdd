"""Reads and saves a tenant's settings in `integration.sync_settings`.

Alert addresses contain tokens of chat services: they are stored encrypted, and shown with all that
follows their scheme masked. A masked address that is saved again keeps its stored value.
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

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.status.alert_addresses import MASK, alert_address
from pipedrive_pipeline.vault.cipher import Cipher, SecretLocation
from pipedrive_pipeline.warehouse import audit_log
from pipedrive_pipeline.warehouse.database import Warehouse

PERSONS = frozenset({"persons", "person_fields"})  # the entities that `sync_persons` controls


@dataclass(frozen=True)
class SyncConfig:
    """The settings of one tenant and system; the values here are the defaults."""

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
    alert_urls: tuple[str, ...] = ()  # not encrypted, not masked
    erase_deleted_after_days: int | None = None

    def facts(self) -> dict[str, Any]:
        """Returns the settings for display and the audit log: masked, the time as `02:00`."""
        masked = [mask(url) for url in self.alert_urls]
        return asdict(self) | {"sync_time": f"{self.sync_time:%H:%M}", "alert_urls": masked}


def mask(url: str) -> str:
    """Returns an alert address without its secret part."""
    return url.partition(":")[0] + MASK


def read(connection: psycopg.Connection, cipher: Cipher, scope: Scope) -> SyncConfig:
    """Returns the current settings."""
    cursor = connection.cursor(row_factory=dict_row)
    row = cursor.execute(_READ, {"tenant": scope.tenant.slug, "system": scope.system}).fetchone()
    if row is None:
        return SyncConfig()
    sealed = row.pop("alert_urls")
    opened = cipher.open(sealed, _place(scope)).get_secret_value() if sealed else ""
    return SyncConfig(**row, alert_urls=tuple(opened.split(",")) if opened else ())


def save(
    connection: psycopg.Connection,
    cipher: Cipher,
    scope: Scope,
    changed: Mapping[str, Any],
    *,
    settings: Settings,
    who: str,
) -> SyncConfig:
    """Saves the changed values and returns all settings.

    Args:
        connection: a transaction that holds `Tenant.settings_lock`: the second of two simultaneous
            editors waits, and its result includes the first one's changes.
        cipher: encrypts the alert addresses.
        scope: the tenant and system that the settings apply to.
        changed: values by the names of `SyncConfig`.
        settings: names the operator's mail relay, which sends the tenants' e-mail.
        who: the editor, for the audit log.

    Raises:
        BadInput: an alert address that cannot be used.
    """
    before = read(connection, cipher, scope)
    given = dict(changed)
    if "alert_urls" in given:
        given["alert_urls"] = _unmasked(given["alert_urls"], before.alert_urls, settings)
    after = replace(before, **given)
    if after == before:
        return after
    values = {field.name: getattr(after, field.name) for field in fields(after)}
    joined = SecretStr(",".join(after.alert_urls))
    values["alert_urls"] = cipher.seal(joined, _place(scope)) if after.alert_urls else None
    connection.execute(
        _save(values), {**values, "tenant": scope.tenant.slug, "system": scope.system, "who": who}
    )
    audit_log.note(
        connection,
        scope.tenant,
        who=who,
        action="sync_config.save",
        subject=scope.system,
        before=before.facts(),
        after=after.facts(),
    )
    return after


def entities_left_out(warehouse: Warehouse, scope: Scope) -> frozenset[str]:
    """Returns the entities that the tenant has switched off; their rows are not changed."""
    with warehouse.transaction(scope.tenant) as connection:
        row = connection.execute(_SYNC_PERSONS, (scope.tenant.slug, scope.system)).fetchone()
    return frozenset() if row is None or row[0] else PERSONS


def _unmasked(urls: Sequence[str], saved: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """Returns the addresses unmasked: masked ones are replaced by the saved ones, in order.

    Raises:
        BadInput: a tenant may not use one of the new addresses.
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


def _place(scope: Scope) -> SecretLocation:
    return SecretLocation(scope.tenant, scope.system, "sync_settings.alert_urls")


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
