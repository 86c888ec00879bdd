"""Previews a mapping before it is saved: rows before and after, coverage, refused values.

Nothing is written. The result contains rows: show it only to people who may read them, never log
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.marts.fields.catalogue import current_fields
from pipedrive_pipeline.marts.fields.values import kind_of
from pipedrive_pipeline.marts.mapping.expressions import (
    Sources,
    filling_of,
    mapped_source,
    sources_of,
)
from pipedrive_pipeline.marts.mapping.form import Entry, Mapping
from pipedrive_pipeline.marts.mapping.mapped_sources import unusable_entries
from pipedrive_pipeline.marts.mapping.store import active
from pipedrive_pipeline.marts.mapping.validation import validated
from pipedrive_pipeline.marts.raw import raw_transaction
from pipedrive_pipeline.marts.sources import MartSource, mart_sources
from pipedrive_pipeline.marts.writing import rows as built_rows
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

ROWS: Final = 10
EVERY_ID: Final = sql.SQL("remote_id is not null")


@dataclass(frozen=True)
class RefusedValue:
    """A value that does not convert to the type of its column."""

    remote_id: str
    value: str  # as JSON
    reason: str


@dataclass(frozen=True)
class Coverage:
    """How many records one entry fills; ``refused`` counts values that would not fit."""

    entity: str
    source: str
    target: str
    records: int
    filled: int
    refused: int
    refused_examples: tuple[RefusedValue, ...]

    @property
    def percent(self) -> float:
        """Percentage of records that get a value."""
        return round(100 * self.filled / self.records, 1) if self.records else 0.0


@dataclass(frozen=True)
class Preview:
    """Up to ten rows of each mart, changing rows first, and the coverage of each entry."""

    rows: dict[str, list[dict[str, Any]]]  # mart -> {remote_id, name, before, after}
    coverage: tuple[Coverage, ...]


def preview(warehouse: Warehouse, scope: Scope, text: Any, *, entity: str | None = None) -> Preview:
    """Returns what the mapping would change in the tenant's rows; writes nothing.

    Args:
        warehouse: where raw and the marts are.
        scope: whose mapping, of which CRM.
        text: the mapping as decoded JSON.
        entity: looks at the records of this entity only; None: of all.

    Raises:
        BadMapping: an entry cannot be used.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    coverage: list[Coverage] = []
    with raw_transaction(warehouse, scope) as connection:
        fields = current_fields(connection, scope)
        mapping = validated(scope, text, fields)
        sources = sources_of(connection, scope, mapping, fields)
        in_use = replace(sources, unused=frozenset(unusable_entries(scope, mapping, fields)))
        before = active(connection, scope).mapping
        for mart in mart_sources(scope.system):
            if not mart.defined_by or entity not in {None, mart.entity}:
                continue
            mapped = mapped_source(mart, in_use)
            if columns := _columns(mapped, before):
                rows[mart.name] = _rows(connection, mapped, columns)
            for entry in mapping.of(mart.entity):
                found = _coverage(connection, entry, mart, sources)
                if entry.name in in_use.unused:  # raw has the last values of a field that is gone
                    found = replace(found, filled=0, refused=0, refused_examples=())
                coverage.append(found)
        connection.rollback()
    return Preview(rows, tuple(coverage))


def _columns(mart: MartSource, before: Mapping) -> list[str]:
    """Returns the columns that the mapping fills, and those that get their own values back."""
    released = [entry.target for entry in before.of(mart.entity) if entry.target in mart.columns]
    return [*dict.fromkeys((*mart.mapped, *released))]


def _rows(
    connection: psycopg.Connection, mart: MartSource, columns: Sequence[str]
) -> list[dict[str, Any]]:
    pairs = [
        sql.SQL("{}::text, to_jsonb({})").format(sql.Literal(name), sql.Identifier(side, name))
        for side in ("stored", "source")
        for name in columns
    ]
    half = len(pairs) // 2
    query = sql.SQL(
        "select shown.* from (select source.remote_id as remote_id, {name} as name,"
        " jsonb_build_object({before}) as before, jsonb_build_object({after}) as after"
        " from ({source}) as source left join {table} as stored"
        " on {is_own} and stored.remote_id = source.remote_id) as shown"
        " order by (shown.before is distinct from shown.after) desc, shown.remote_id asc"
        " limit {limit}"
    ).format(
        name=sql.SQL("source.name" if "name" in mart.outputs else "null::text"),
        before=sql.SQL(", ").join(pairs[:half]),
        after=sql.SQL(", ").join(pairs[half:]),
        source=built_rows(mart, EVERY_ID),
        table=mart.identifier,
        is_own=mart.of_tenant("stored"),
        limit=sql.Literal(ROWS),
    )
    return connection.cursor(row_factory=dict_row).execute(query).fetchall()


def _coverage(
    connection: psycopg.Connection, entry: Entry, mart: MartSource, sources: Sources
) -> Coverage:
    filling, unpacked = filling_of(entry, sources), sources.unpacked(entry.entity)
    query = sql.SQL(_COVERAGE).format(
        records=mart.records,
        key=sql.Identifier(mart.key),
        joins=unpacked.joins(),
        sent=unpacked.value(entry.field_key),
        kind=sql.Literal(kind_of(sources.scope.system, sources.field(entry).field_type)),
        value=filling.value,
        converted=filling.converted,
        refusal=sql.Literal(filling.refusal),
        limit=sql.Literal(ROWS),
    )
    row = connection.execute(query).fetchone()
    records, filled, refused, examples = row or (0, 0, 0, None)
    return Coverage(
        entity=entry.entity,
        source=entry.source,
        target=entry.target,
        records=records,
        filled=filled,
        refused=refused,
        refused_examples=tuple(
            RefusedValue(example["id"], example["value"], example["reason"])
            for example in examples or ()
        ),
    )


_COVERAGE = """
with looked as (
    select
        {records}.{key}::text as remote_id,
        {sent} as sent,
        {converted} is not null as is_filled,
        case
            when {converted} is not null then null
            when {value} is not null then {refusal}
            else pipeline.misfit({kind}, {sent})
        end as reason
    from {records}{joins}
)
select
    count(*),
    count(*) filter (where looked.is_filled),
    count(looked.reason),
    (
        select jsonb_agg(
            jsonb_build_object(
                'id', refused.remote_id,
                'value', left(refused.sent::text, 100),
                'reason', refused.reason
            )
            order by refused.remote_id asc
        )
        from (
            select *
            from looked
            where looked.reason is not null
            order by looked.remote_id asc
            limit {limit}
        ) as refused
    )
from looked
"""
