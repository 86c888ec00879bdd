"""The estimated cost of a full read in tokens of the day's budget.

A call costs the same for 1 and for 500 records, so a read costs its pages, and one call more that
proves that the list was read to its end. How many rows there are is counted in raw where everything
was read before; else one call per entity reads the highest id at the source: an upper bound, since
ids of deleted records count too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from math import ceil

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors.contract import ChangedSince, Children, Entity, Snapshot, Source
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy.configuration import entities_read_of
from pipedrive_pipeline.warehouse.database import Warehouse


@dataclass(frozen=True)
class Price:
    """What a full read will cost, in tokens by entity, of a day's ``limit``."""

    entities: Mapping[str, int]
    limit: int

    @property
    def tokens(self) -> int:
        """Of all entities together."""
        return sum(self.entities.values())

    def __str__(self) -> str:
        return (
            f"about {self.tokens:,} tokens, {_percent(self.tokens, self.limit)} of {self.limit:,}"
        )


def price(
    warehouse: Warehouse,
    scope: Scope,
    entities: Sequence[Entity],
    *,
    open_source: Callable[[], AbstractAsyncContextManager[Source]],
    daily_limit: Callable[[], int],
) -> Price:
    """The price of reading everything of these entities.

    Args:
        warehouse: where raw and the history are.
        scope: the tenant and system of the records.
        entities: what would be read.
        open_source: opens the tenant's source; called only for entities that were never read whole.
        daily_limit: returns the tokens of a day; called last, when the source may have stated them.

    Raises:
        PipelineError: the source had to be called, and refused or could not be called.
    """
    sizes: dict[str, int | None] = {entity.name: None for entity in entities}
    sizes |= _counted(warehouse, scope, entities)
    unknown = [
        entity
        for entity in entities
        if sizes[entity.name] is None and not isinstance(entity.read, Snapshot | Children)
    ]
    if unknown:
        sizes |= asyncio.run(_asked(open_source, unknown))
    tokens = {entity.name: _tokens(entity, sizes) for entity in entities}
    return Price(tokens, daily_limit())


def sweep_tokens(connection: psycopg.Connection, scope: Scope) -> int:
    """What a sweep will cost, by Postgres's own estimate of the rows in raw: no table is read."""
    schema = scope.raw_schema
    rows: dict[str, float] = dict(connection.execute(_ESTIMATES, [schema]).fetchall())
    return sum(
        _tokens(entity, {name: round(count) for name, count in rows.items()})
        for entity in entities_read_of(connection, scope).values()
    )


def _tokens(entity: Entity, sizes: Mapping[str, int | None]) -> int:
    if isinstance(entity.read, Children):  # one call for each batch of parents
        batches = ceil((sizes.get(entity.read.of) or 0) / entity.read.batch)
        return batches * entity.cost.tokens_per_page
    pages = max(1, ceil((sizes.get(entity.name) or 0) / entity.cost.records_per_page))
    look_for_the_newest = isinstance(entity.read, ChangedSince)
    return (pages + look_for_the_newest) * entity.cost.tokens_per_page


def _percent(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return "less than 1 %" if percent < 1 else f"{percent:.0f} %"


async def _asked(
    open_source: Callable[[], AbstractAsyncContextManager[Source]], entities: list[Entity]
) -> dict[str, int | None]:
    async with open_source() as source:
        return {entity.name: await source.size_hint(entity) for entity in entities}


def _counted(warehouse: Warehouse, scope: Scope, entities: Sequence[Entity]) -> dict[str, int]:
    """Rows in raw, of entities of which everything was read at least once."""
    with warehouse.transaction(tenant=scope.tenant) as connection:
        read_whole = {
            row[0] for row in connection.execute(_READ_WHOLE, [scope.tenant.slug, scope.system])
        }
        counts = {}
        for entity in entities:
            if entity.name not in read_whole:
                continue
            table = sql.Identifier(scope.raw_schema, entity.name)
            row = connection.execute(sql.SQL("select count(*) from {}").format(table)).fetchone()
            counts[entity.name] = row[0] if row else 0
    return counts


# A table that was never looked at has no estimate: its size then, at no less than 100 bytes a row.
_ESTIMATES = """
select tables.relname,
    case
        when tables.reltuples >= 0 then tables.reltuples::float8
        else pg_relation_size(tables.oid) / 100.0
    end
from pg_class as tables
where tables.relnamespace = to_regnamespace(%s) and tables.relkind = 'r'
"""

# Since the tenant last connected: with another company its tables were dropped.
_READ_WHOLE = """
select distinct run_entities.entity
from integration.run_entities
inner join integration.connections
    on connections.tenant_id = run_entities.tenant_id
    and connections.system = run_entities.system
    and (connections.connected_at is null or connections.connected_at <= run_entities.started_at)
where run_entities.tenant_id = %s
    and run_entities.system = %s
    and run_entities.watermark_after is not null
    and to_regclass(
        format(
            '%%I.%%I',
            'raw_' || run_entities.system || '_' || run_entities.tenant_id,
            run_entities.entity
        )
    ) is not null
"""
