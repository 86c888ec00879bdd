"""Reads and saves a tenant's settings in `integration.sync_settings`.

Alert addresses contain tokens of chat services: they are stored encrypted, and shown with all that
follows their scheme masked. A masked address that is saved again keeps its stored value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import time
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Children, Entity
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.status.alert_addresses import MASK, alert_address
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.cipher import Cipher, alert_addresses
from pipedrive_pipeline.warehouse import audit_log
from pipedrive_pipeline.warehouse.database import Warehouse

ALL_MARTS: Final = "all"
# Former settings of API and command line, by the entity that each switches off.
ALIASES: Final = MappingProxyType({"sync_persons": "persons"})


@dataclass(frozen=True)
class SyncConfig:
    """The settings of one tenant and system; the values here are the defaults."""

    auto_sync: bool = True
    sync_time: time = time(2, 0)
    time_zone: str | None = None
    every_hours: int | None = None
    incremental_sync: bool = True
    entities_off: tuple[str, ...] = ()  # they are not read; never saved: those off by default
    entity_cycles: Mapping[str, int] = field(default_factory=dict)  # hours between two reads
    sync_custom_fields: bool = True
    sweep_every_hours: int | None = None
    budget_share: float = 0.5
    daily_token_budget: int | None = None
    alert_urls: tuple[str, ...] = ()  # not encrypted, not masked
    erase_deleted_after_days: int | None = None
    near_real_time: bool = True  # where the source can reach APP_URL
    writes_allowed: tuple[str, ...] = ()  # marts whose records may be written; ALL_MARTS: every one

    def facts(self) -> dict[str, Any]:
        """Returns the settings for display and the audit log: masked, the time as `02:00`."""
        shown = {
            "sync_time": f"{self.sync_time:%H:%M}",
            "entities_off": list(self.entities_off),
            "entity_cycles": dict(self.entity_cycles),
            "alert_urls": [mask(url) for url in self.alert_urls],
            "writes_allowed": list(self.writes_allowed),
        }
        aliases = {name: entity not in self.entities_off for name, entity in ALIASES.items()}
        facts = {each.name: getattr(self, each.name) for each in fields(self)}
        return facts | shown | aliases


def mask(url: str) -> str:
    """Returns an alert address without its secret part."""
    return url.partition(":")[0] + MASK


def read(connection: psycopg.Connection, cipher: Cipher, scope: Scope) -> SyncConfig:
    """Returns the current settings."""
    cursor = connection.cursor(row_factory=dict_row)
    row = cursor.execute(_READ, {"tenant": scope.tenant.slug, "system": scope.system}).fetchone()
    off_by_default = registry.system(scope.system).off_by_default
    if row is None:
        return SyncConfig(entities_off=off_by_default, entity_cycles=default_cycles(scope.system))
    sealed = row.pop("alert_urls")
    opened = cipher.open(sealed, alert_addresses(scope)).get_secret_value() if sealed else ""
    saved = row["entities_off"]
    row["entities_off"] = off_by_default if saved is None else tuple(saved)
    row["writes_allowed"] = tuple(row["writes_allowed"])
    row["entity_cycles"] = default_cycles(scope.system) | (row["entity_cycles"] or {})
    return SyncConfig(**row, alert_urls=tuple(opened.split(",")) if opened else ())


def zone_of(connection: psycopg.Connection, tenant: Tenant, config: SyncConfig) -> ZoneInfo:
    """Returns the time zone of the settings, else the tenant's own."""
    query = "select tenants.time_zone from integration.tenants where tenants.slug = %s"
    row = connection.execute(query, [tenant.slug]).fetchone()
    return ZoneInfo(config.time_zone or (row[0] if row else "UTC"))


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
        changed: values by the names of `SyncConfig`, or of `ALIASES`.
        settings: names the operator's mail relay, which sends the tenants' e-mail.
        who: the editor, for the audit log.

    Raises:
        BadInput: an alert address that cannot be used, or an entity that the system lacks.
    """
    before = read(connection, cipher, scope)
    given = dict(changed)
    if given.get("entities_off", ()) is None:
        given["entities_off"] = registry.system(scope.system).off_by_default
    given = _without_aliases(given, before.entities_off)
    if "entities_off" in given:
        given["entities_off"] = _checked_entities(scope.system, given["entities_off"])
    if "entity_cycles" in given:
        given["entity_cycles"] = _checked_cycles(scope.system, given["entity_cycles"] or {})
    if "writes_allowed" in given:
        given["writes_allowed"] = _checked_marts(scope.system, given["writes_allowed"])
    if "alert_urls" in given:
        given["alert_urls"] = _unmasked(given["alert_urls"], before.alert_urls, settings)
    after = replace(before, **given)
    if after == before:
        return after
    values = {each.name: getattr(after, each.name) for each in fields(after)}
    joined = SecretStr(",".join(after.alert_urls))
    # What was never saved follows the defaults of later releases.
    del values["entities_off"], values["entity_cycles"]
    if "entities_off" in given:
        values["entities_off"] = list(after.entities_off)
    if "entity_cycles" in given:
        values["entity_cycles"] = Jsonb(dict(after.entity_cycles))
    values["writes_allowed"] = list(after.writes_allowed)
    values["alert_urls"] = cipher.seal(joined, alert_addresses(scope)) if after.alert_urls else None
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


def entities_read(warehouse: Warehouse, scope: Scope) -> dict[str, Entity]:
    """Returns the entities that the tenant reads, by name in the order of reading.

    Without those that are switched off, their children, and definitions of fields that no other
    entity has. The rows of the others are not changed.
    """
    with warehouse.transaction(scope.tenant) as connection:
        return entities_read_of(connection, scope)


def entities_read_of(connection: psycopg.Connection, scope: Scope) -> dict[str, Entity]:
    """Returns the same as `entities_read`, in the caller's transaction."""
    row = connection.execute(_ENTITIES_OFF, (scope.tenant.slug, scope.system)).fetchone()
    system = registry.system(scope.system)
    off = set(system.off_by_default if row is None or row[0] is None else row[0])
    for entity in system.entities:  # parents come first
        if isinstance(entity.read, Children) and entity.read.of in off:
            off.add(entity.name)
    for name in {entity.defined_by for entity in system.entities} - {None}:
        if all(entity.name in off for entity in system.entities if entity.defined_by == name):
            off.add(str(name))
    return {name: entity for name, entity in system.by_name.items() if name not in off}


def cycles_of(connection: psycopg.Connection, scope: Scope) -> dict[str, int]:
    """Returns the hours between two reads of each entity that has a cycle of its own."""
    row = connection.execute(_CYCLES, (scope.tenant.slug, scope.system)).fetchone()
    cycles = default_cycles(scope.system) | ((row[0] if row else None) or {})
    return {name: hours for name, hours in cycles.items() if hours}


def default_cycles(system: str) -> dict[str, int]:
    """Returns the hours between two reads of each entity that its declaration gives a cycle."""
    entities = registry.system(system).entities
    return {entity.name: entity.cycle_hours for entity in entities if entity.cycle_hours}


def _without_aliases(changed: Mapping[str, Any], entities_off: Sequence[str]) -> dict[str, Any]:
    """Returns the changes with former settings as changes of `entities_off`."""
    given = dict(changed)
    for name, entity in ALIASES.items():
        if name in given:
            is_read = given.pop(name)
            others = {*given.get("entities_off", entities_off)} - {entity}
            given["entities_off"] = others if is_read else {*others, entity}
    return given


def _checked_entities(system: str, names: Iterable[str]) -> tuple[str, ...]:
    """Returns the names in order.

    Raises:
        BadInput: the system has no entity of one of the names.
    """
    _require_known("entities_off", system, names)
    return tuple(sorted(names))


def _checked_cycles(system: str, hours: Mapping[str, int]) -> dict[str, int]:
    """Returns the hours of every entity that has a cycle; those not given have the default.

    Raises:
        BadInput: the system has no entity of one of the names.
    """
    _require_known("entity_cycles", system, hours)
    return default_cycles(system) | dict(sorted(hours.items()))


def _checked_marts(system: str, names: Iterable[str]) -> tuple[str, ...]:
    """Returns the names in order.

    Raises:
        BadInput: nothing of one of the names can be written in the system.
    """
    writable = writable_marts(system)
    if unknown := sorted(set(names) - {ALL_MARTS, *writable}):
        there = ", ".join((ALL_MARTS, *writable)) if writable else "nothing can be written"
        raise BadInput(f"writes_allowed: {system} has no {unknown[0]!r} to write; there: {there}.")
    return tuple(sorted(set(names)))


def writable_marts(system: str) -> tuple[str, ...]:
    """Returns the marts whose records can be written in a system, in the order of declaration."""
    return tuple(dict.fromkeys(each.mart for each in registry.system(system).writes))


def _require_known(setting: str, system: str, names: Iterable[str]) -> None:
    known = registry.system(system).by_name
    if unknown := sorted(set(names) - set(known)):
        raise BadInput(
            f"{setting}: {system} has no entity {unknown[0]!r}; it has {', '.join(known)}."
        )


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


_ENTITIES_OFF = """
select sync_settings.entities_off
from integration.sync_settings
where sync_settings.tenant_id = %s
    and sync_settings.system = %s
"""
_CYCLES = """
select sync_settings.entity_cycles
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
    sync_settings.entities_off,
    sync_settings.entity_cycles,
    sync_settings.sync_custom_fields,
    sync_settings.sweep_every_hours,
    sync_settings.budget_share::float8 as budget_share,
    sync_settings.daily_token_budget,
    sync_settings.alert_urls,
    sync_settings.erase_deleted_after_days,
    sync_settings.near_real_time,
    sync_settings.writes_allowed
from integration.sync_settings
where sync_settings.tenant_id = %(tenant)s
    and sync_settings.system = %(system)s
"""
