"""The systems of a tenant, each with its state as one word and what was read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Entity
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy.configuration import entities_read_of
from pipedrive_pipeline.tenants import Tenant

CardState = Literal[
    "never",
    "pending",
    "disconnected",
    "reconnect",
    "failed",
    "paused",
    "running",
    "first",
    "ok",
    "live",
]


@dataclass(frozen=True)
class SystemCard:
    """One system as the tenant's home shows it."""

    system: str
    label: str
    state: CardState
    entities: Sequence[str]  # that are read, those of every tenant first
    company: str | None = None
    reason: str | None = None  # why it must be connected again, as a code
    changed_at: datetime | None = None  # when the connection came into its state
    data_as_of: datetime | None = None
    resume_at: datetime | None = None  # of a paused sync


def system_cards(connection: psycopg.Connection, tenant: Tenant) -> list[SystemCard]:
    """A card of every system, in the order of the registry; in a transaction of the app."""
    cursor = connection.cursor(row_factory=dict_row)
    found = cursor.execute(_CARDS, {"tenant": tenant.slug}).fetchall()
    rows = {row["system"]: row for row in found}
    cards = []
    for system in registry.systems():
        read = entities_read_of(connection, Scope(tenant, system.key)).values()
        names = _spoken_of(read)
        row = rows.get(system.key)
        if row is None:
            cards.append(SystemCard(system.key, system.label, "never", names))
            continue
        cards.append(
            SystemCard(
                system.key,
                system.label,
                _state(row),
                names,
                company=row["company_name"],
                reason=row["state_reason"],
                changed_at=row["updated_at"],
                data_as_of=row["data_as_of"],
                resume_at=row["resume_at"],
            )
        )
    return cards


def _spoken_of(read: Iterable[Entity]) -> list[str]:
    """Names of entities without the definitions of their fields; those that have fields first."""
    known = list(read)
    definitions = {entity.defined_by for entity in known}
    shown = [entity for entity in known if entity.name not in definitions]
    return [entity.name for entity in sorted(shown, key=lambda entity: entity.defined_by is None)]


def _state(row: dict[str, Any]) -> CardState:
    """The one word for a connection and its newest run."""
    if row["state"] != "connected":
        states: dict[str, CardState] = {"needs_reauth": "reconnect", "pending": "pending"}
        never = row["connected_at"] is None
        return states.get(row["state"], "never" if never else "disconnected")
    if row["is_running"]:
        return "running"
    if row["status"] == "paused" and row["resume_at"] and row["resume_at"] > datetime.now(UTC):
        return "paused"
    if row["status"] == "failed":
        return "failed"
    if row["data_as_of"] is None:
        return "first"
    return "live" if row["is_live"] else "ok"


_CARDS = """
select
    connections.system,
    connections.state,
    connections.state_reason,
    connections.company_name,
    connections.connected_at,
    connections.updated_at,
    newest.status,
    newest.resume_at,
    exists (
        select
        from integration.runs
        where runs.tenant_id = connections.tenant_id
            and runs.system = connections.system
            and runs.status = 'running'
    ) as is_running,
    exists (
        select
        from integration.webhooks
        where webhooks.tenant_id = connections.tenant_id
            and webhooks.system = connections.system
            and webhooks.state = 'live'
    ) as is_live,
    (
        select runs.started_at
        from integration.runs
        where runs.tenant_id = connections.tenant_id
            and runs.system = connections.system
            and runs.status in ('success', 'partial')
            and runs.sync_type in ('incremental', 'full')
        order by runs.started_at desc, runs.id desc
        limit 1
    ) as data_as_of
from integration.connections
left join lateral (
    select runs.status, runs.resume_at
    from integration.runs
    where runs.tenant_id = connections.tenant_id
        and runs.system = connections.system
        and runs.status <> 'running'
    order by runs.started_at desc, runs.id desc
    limit 1
) as newest on true
where connections.tenant_id = %(tenant)s
"""
