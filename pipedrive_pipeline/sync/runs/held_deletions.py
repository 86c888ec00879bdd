"""Deletions that a run did not believe: kept with examples until a person decides.

A sweep stops at more than 10 % and more than 50 records of an entity. What it found is stored here;
a person confirms or refuses it, and the next sweep reads the decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Literal
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.errors import GuardTripped
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse import audit_log
from pipedrive_pipeline.warehouse.database import Warehouse

Decision = Literal["confirmed", "refused"]
SAMPLE_IDS = 100  # of the records that seem to be gone, for a person to look at


@dataclass(frozen=True)
class HeldDeletions:
    """Records of one entity that the source no longer lists, and what a person decided."""

    entity: str
    run_id: UUID | None
    found_at: datetime
    known: int
    gone: int
    sample: list[str]
    decision: Decision | None
    decided_at: datetime | None
    decided_by: str | None


def store(
    connection: psycopg.Connection, scope: Scope, run_id: UUID, reads: Iterable[EntityRead]
) -> None:
    """Stores what these reads did not believe, and forgets what they compared to the end."""
    compared: list[str] = []
    for read in reads:
        values = {**_names(scope), "entity": read.entity.name, "run_id": run_id}
        if isinstance(read.error, GuardTripped):
            gone = read.error.gone
            sample = list(gone[:: ceil(len(gone) / SAMPLE_IDS) or 1])
            values |= {"known": read.error.known, "gone": len(gone), "sample": sample}
            connection.execute(_STORE, values)
        elif read.is_complete and read.missing is not None:
            compared.append(read.entity.name)
    if compared:
        connection.execute(_FORGET, {**_names(scope), "entities": compared})


def held(connection: psycopg.Connection, scope: Scope) -> list[HeldDeletions]:
    """Returns the held deletions of one system, by entity."""
    cursor = connection.cursor(row_factory=class_row(HeldDeletions))
    return cursor.execute(_HELD, _names(scope)).fetchall()


def confirmed(warehouse: Warehouse, scope: Scope) -> dict[str, int]:
    """Returns how many records a person has confirmed to be gone, by entity."""
    with warehouse.transaction(scope.tenant) as connection:
        rows = held(connection, scope)
    return {row.entity: row.gone for row in rows if row.decision == "confirmed"}


def decide(
    connection: psycopg.Connection,
    scope: Scope,
    entity: str,
    decision: Decision,
    *,
    found_at: datetime,
    who: str,
) -> bool:
    """Stores the decision; False if nothing is held, or not what the person saw.

    Args:
        connection: a transaction of the tenant.
        scope: the tenant and system.
        entity: of the records.
        decision: confirmed or refused.
        found_at: of the held deletions that the person looked at.
        who: for the audit log.
    """
    values = {
        **_names(scope),
        "entity": entity,
        "decision": decision,
        "found_at": found_at,
        "who": who,
    }
    row = connection.execute(_DECIDE, values).fetchone()
    if row is None:
        return False
    audit_log.note(
        connection,
        scope.tenant,
        who=who,
        action=f"deletions.{decision}",
        subject=f"{scope.system} {entity}",
        after={"gone": row[0]},
    )
    return True


def _names(scope: Scope) -> dict[str, object]:
    return {"tenant": scope.tenant.slug, "system": scope.system}


_STORE = """
insert into integration.held_deletions as held
    (tenant_id, system, entity, run_id, found_at, known, gone, sample)
values (
    %(tenant)s, %(system)s, %(entity)s, %(run_id)s, clock_timestamp(), %(known)s, %(gone)s,
    %(sample)s
)
on conflict (tenant_id, system, entity) do update
set run_id = excluded.run_id,
    found_at = excluded.found_at,
    known = excluded.known,
    gone = excluded.gone,
    sample = excluded.sample,
    (decision, decided_at, decided_by) = (
        select held.decision, held.decided_at, held.decided_by
        -- Of as many or more, while this sweep was on its way; the next one acts on it.
        where held.decision = 'confirmed'
            and held.gone >= excluded.gone
    )
"""
_FORGET = """
delete from integration.held_deletions
where tenant_id = %(tenant)s and system = %(system)s and entity = any(%(entities)s)
"""
_HELD = """
select
    held_deletions.entity,
    held_deletions.run_id,
    held_deletions.found_at,
    held_deletions.known,
    held_deletions.gone,
    held_deletions.sample,
    held_deletions.decision,
    held_deletions.decided_at,
    held_deletions.decided_by
from integration.held_deletions
where held_deletions.tenant_id = %(tenant)s
    and held_deletions.system = %(system)s
order by held_deletions.entity asc
"""
_DECIDE = """
update integration.held_deletions
set decision = %(decision)s, decided_at = clock_timestamp(), decided_by = %(who)s
where tenant_id = %(tenant)s
    and system = %(system)s
    and entity = %(entity)s
    and date_trunc('milliseconds', found_at) = date_trunc('milliseconds', %(found_at)s::timestamptz)
returning gone
"""
