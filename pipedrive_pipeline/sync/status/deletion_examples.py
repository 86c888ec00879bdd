"""Records that seem to be deleted, with their names, for a person who has to decide."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from pipedrive_pipeline.marts.sources import MartSource, mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.held_deletions import HeldDeletions

EXAMPLES: Final = 10
NAMES: Final = ("name", "subject")  # columns that identify a row of a mart to a person


@dataclass(frozen=True)
class DeletionExample:
    """One record: its id, and as little more as a person needs to recognize it."""

    id: str
    name: str | None
    changed_at: datetime | None


def deletion_examples(
    connection: psycopg.Connection, scope: Scope, held: HeldDeletions, *, limit: int = EXAMPLES
) -> list[DeletionExample]:
    """Returns examples of held deletions; only ids where no mart has the records."""
    source = _source(scope.system, held.entity)
    if source is None:
        return [DeletionExample(id_, None, None) for id_ in held.sample[:limit]]
    columns = {column.name for column in source.mart.columns}
    shown = next((name for name in NAMES if name in columns), None)
    name = sql.Identifier("mart", shown) if shown else sql.SQL("null::text")
    query = sql.SQL(_EXAMPLES).format(name=name, mart=source.identifier)
    values = {
        "tenant": scope.tenant.slug,
        "system": scope.system,
        "ids": held.sample,
        "limit": limit,
    }
    cursor = connection.cursor(row_factory=class_row(DeletionExample))
    return cursor.execute(query, values).fetchall()


def record_page(scope: Scope, entity: str) -> str | None:
    """Returns the address of a record's page in the CRM, with {company_domain} and {id}."""
    source = _source(scope.system, entity)
    return source.page if source else None


def _source(system: str, entity: str) -> MartSource | None:
    sources = (source for source in mart_sources(system) if not source.is_of_parts)
    return next((source for source in sources if source.entity == entity), None)


_EXAMPLES = """
select
    mart.remote_id as id,
    {name} as name,
    mart.changed_at
from {mart} as mart
where mart.tenant_id = %(tenant)s
    and mart.system = %(system)s
    and mart.remote_id = any(%(ids)s)
order by
    mart.changed_at desc nulls last,
    mart.remote_id asc
limit %(limit)s
"""
