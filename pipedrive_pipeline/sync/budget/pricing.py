"""The estimated cost of a full read in tokens of the day's budget.

A call costs the same for 1 and for 500 records, so a read costs its pages, and one call more that
proves that the list was read to its end. How many rows there are is counted in raw where everything
was read before; else one call per entity reads the highest id at the source: an upper bound, since
ids of deleted records count too. So a price has two ends: the least is what as many pages cost as
are known to be there, the most what the bound costs, all of it on the dearest list. Where no bound
is known, the price names the number that it assumes. An entity that the source refuses and that is
not required will be skipped: its price is one page of each list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from math import ceil

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import (
    ChangedSince,
    Children,
    Entity,
    Snapshot,
    Source,
    System,
)
from pipedrive_pipeline.ingest.outcome import REFUSALS
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy.configuration import entities_read_of
from pipedrive_pipeline.warehouse.database import Warehouse

# Calls for the lists of a batch of parents, at most, where nobody has counted their children.
CALLS_PER_BATCH_MAX = 2


@dataclass(frozen=True)
class TokenRange:
    """What a read costs at least and at most."""

    least: int
    most: int


@dataclass(frozen=True)
class Price:
    """What a full read will cost, in tokens by entity, of a day's ``limit``."""

    ranges: Mapping[str, TokenRange]
    limit: int
    rows: Mapping[str, int] = field(default_factory=dict)  # at most; absent where nobody knows
    assumptions: tuple[str, ...] = ()  # with more records than these the most is not the most

    @property
    def entities(self) -> dict[str, int]:
        """At most, by entity."""
        return {name: tokens.most for name, tokens in self.ranges.items()}

    @property
    def tokens(self) -> int:
        """At most, of all entities together."""
        return sum(self.entities.values())

    @property
    def tokens_least(self) -> int:
        """At least, of all entities together."""
        return sum(tokens.least for tokens in self.ranges.values())

    def __str__(self) -> str:
        part = f"{_percent(self.tokens, self.limit)} of {self.limit:,}"
        if self.assumptions:
            part += f", if there are at most {' and '.join(self.assumptions)}"
        if self.tokens_least == self.tokens:
            return f"about {self.tokens:,} tokens, {part}"
        return f"{self.tokens_least:,} to {self.tokens:,} tokens, {part}"


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
        PipelineError: the source had to be called and refused a required entity, or could not be
            called.
    """
    sized = _with_parents(registry.system(scope.system), entities)
    counts = _counted(warehouse, scope, sized)
    unknown = [
        entity
        for entity in sized
        if entity.name not in counts and not isinstance(entity.read, Snapshot | Children)
    ]
    bounds = asyncio.run(_asked(open_source, unknown)) if unknown else {}
    sizes = {
        entity.name: _RowRange(
            counts.get(entity.name, 0), counts.get(entity.name) or bounds.get(entity.name) or 0
        )
        for entity in sized
    }
    parents = _parents(warehouse, scope, entities, counts, sizes)
    ranges = {entity.name: _tokens(entity, sizes, parents) for entity in entities}
    rows = {name: size.most for name, size in sizes.items() if name in ranges and size.most}
    known = {*counts, *(name for name, bound in bounds.items() if bound is not None)}
    return Price(ranges, daily_limit(), rows, _assumptions(entities, sizes, known))


def rows_in_raw(connection: psycopg.Connection, scope: Scope) -> dict[str, int]:
    """Postgres's own estimate of the rows of each raw table; no table is read."""
    estimates = connection.execute(_ESTIMATES, [scope.raw_schema]).fetchall()
    return {name: round(count) for name, count in estimates}


def sweep_tokens(connection: psycopg.Connection, scope: Scope) -> dict[str, int]:
    """What a sweep will cost by entity, by Postgres's own estimate of the rows in raw."""
    rows = _estimated_rows(connection, scope)
    return {
        name: _tokens(entity, rows, {}).most
        for name, entity in entities_read_of(connection, scope).items()
        if entity.is_swept
    }


def estimated_tokens(connection: psycopg.Connection, scope: Scope) -> dict[str, int]:
    """What a full read of each entity costs at most, of those that were ever loaded.

    By Postgres's own estimate of the rows in raw: no table is read and the source is not called.
    """
    rows = _estimated_rows(connection, scope)
    entities = registry.system(scope.system).by_name
    return {
        name: _tokens(entity, rows, {}).most for name, entity in entities.items() if name in rows
    }


def _estimated_rows(connection: psycopg.Connection, scope: Scope) -> dict[str, _RowRange]:
    counts = rows_in_raw(connection, scope)
    return {name: _RowRange(count, count) for name, count in counts.items()}


@dataclass(frozen=True)
class _RowRange:
    """As many rows as there are at least and at most."""

    least: int = 0
    most: int = 0


def _tokens(
    entity: Entity, sizes: Mapping[str, _RowRange], parents: Mapping[str, _RowRange]
) -> TokenRange:
    """The tokens of an entity; ``parents`` are those whose lists are read, by child."""
    rows = sizes.get(entity.name, _RowRange())
    if isinstance(entity.read, Children):
        of_all = sizes.get(entity.read.of, _RowRange())
        return _tokens_of_lists(entity, entity.read, parents.get(entity.name, of_all), rows)
    cost = entity.cost
    prices = (cost.tokens_per_page, *cost.further_lists)
    looks = sum(prices) if isinstance(entity.read, ChangedSince) else 0
    least, most = (
        max(1, ceil(count / cost.records_per_page)) - 1 for count in (rows.least, rows.most)
    )
    # One page of each list; every further page is the cheapest, or the dearest.
    return TokenRange(
        sum(prices) + least * min(prices) + (prices[0] if looks else 0),
        sum(prices) + most * max(prices) + looks,
    )


def _tokens_of_lists(
    entity: Entity, read: Children, parents: _RowRange, rows: _RowRange
) -> TokenRange:
    """One call for each batch of parents, and one more for each page that their lists fill."""
    least, most = (ceil(count / read.batch) for count in (parents.least, parents.most))
    if rows.most:
        most += rows.most // entity.cost.records_per_page
    elif read.batch > 1:
        most *= CALLS_PER_BATCH_MAX
    return TokenRange(least * entity.cost.tokens_per_page, most * entity.cost.tokens_per_page)


def _assumptions(
    entities: Sequence[Entity], sizes: Mapping[str, _RowRange], known: Collection[str]
) -> tuple[str, ...]:
    """What the greatest price assumes where neither raw nor the source tells a number."""
    assumed = []
    for entity in entities:
        read, rows = entity.read, entity.cost.records_per_page
        if entity.name in known or isinstance(read, Snapshot):
            continue
        if not isinstance(read, Children):
            assumed.append(f"{rows:,} {entity.name}")
        elif sizes[read.of].most:
            calls = CALLS_PER_BATCH_MAX if read.batch > 1 else 1
            assumed.append(f"{calls * rows // read.batch:,} {entity.name} for each of {read.of}")
    return tuple(assumed)


def _parents(
    warehouse: Warehouse,
    scope: Scope,
    entities: Sequence[Entity],
    counts: Mapping[str, int],
    sizes: Mapping[str, _RowRange],
) -> dict[str, _RowRange]:
    """The parents whose lists are worth reading, of children of which not all are, by child."""
    parents = {}
    for entity in entities:
        read = entity.read
        if not isinstance(read, Children) or read.due_by is None:
            continue
        parents[entity.name] = _RowRange(0, sizes[read.of].most)
        if read.of in counts:
            query = sql.SQL("select count({}) from {}").format(
                sql.Identifier(read.due_by), sql.Identifier(scope.raw_schema, read.of)
            )
            with warehouse.transaction(tenant=scope.tenant) as connection:
                row = connection.execute(query).fetchone()
            count = row[0] if row else 0
            parents[entity.name] = _RowRange(count, count)
    return parents


def _with_parents(system: System, entities: Sequence[Entity]) -> list[Entity]:
    """The entities, and the parents of those that are children, each once."""
    parents = [
        system.entity(entity.read.of) for entity in entities if isinstance(entity.read, Children)
    ]
    return [*{entity.name: entity for entity in (*entities, *parents)}.values()]


def _percent(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return "less than 1 %" if percent < 1 else f"{percent:.0f} %"


async def _asked(
    open_source: Callable[[], AbstractAsyncContextManager[Source]], entities: list[Entity]
) -> dict[str, int | None]:
    async with open_source() as source:
        return {entity.name: await _bound(source, entity) for entity in entities}


async def _bound(source: Source, entity: Entity) -> int | None:
    """The source's bound of an entity's rows; 0 of one that will be skipped, see `is_set_aside`."""
    try:
        return await source.size_hint(entity)
    except REFUSALS:
        if entity.is_required:
            raise
        return 0


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
