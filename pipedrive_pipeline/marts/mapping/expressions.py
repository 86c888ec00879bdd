"""What a mapping adds to a build: one SQL expression for each target column.

Belongs here: values over the raw row and the row that the mart holds. Does not belong here: the
statement around them (`marts/writing.py`).

A source without a value leaves a column to what the mart's own select says of it. A field that is
gone keeps the values that were last written.
"""

from __future__ import annotations

from collections.abc import Mapping as Lookup
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.catalogue import Field
from pipedrive_pipeline.marts.mapping.checking import part_of_entry, target_type
from pipedrive_pipeline.marts.mapping.form import Entry, Mapping
from pipedrive_pipeline.marts.targets import Target
from pipedrive_pipeline.marts.values import REFERENCE_TABLES, Source, expression, value_of
from pipedrive_pipeline.tenants import Tenant

ATTRIBUTES: Final = "attributes"
PAIRS_PER_OBJECT: Final = 40  # PostgreSQL's functions take at most 100 arguments


@dataclass(frozen=True)
class Sources:
    """Where a tenant's raw values lie: the catalogue, and the columns that raw declares."""

    tenant: Tenant
    system: str
    fields: Lookup[tuple[str, str], Field]
    columns: Lookup[str, Lookup[str, str]]  # entity -> column -> type

    def field(self, entry: Entry) -> Field:
        """The field that an entry reads; it was checked to exist."""
        return self.fields[entry.entity, entry.field_key]

    def source(self, entry: Entry) -> Source:
        """The entry's field over one raw row."""
        key, table = entry.field_key, sql.Identifier(entry.entity)
        custom_fields: sql.Composable = sql.SQL("{}.custom_fields").format(table)
        if not self.field(entry).is_custom:
            custom_fields = sql.SQL("null::jsonb")
            if key in self.columns.get(entry.entity, {}):
                custom_fields = sql.SQL("jsonb_build_object({}::text, to_jsonb({}.{}))").format(
                    sql.Literal(key), table, sql.Identifier(key)
                )
        return Source(
            tenant=self.tenant.slug,
            system=self.system,
            entity=entry.entity,
            field_key=key,
            custom_fields=custom_fields,
            extra=sql.SQL("{}.extra").format(table),
            referred={kind: sql.Identifier(name) for kind, name in REFERENCE_TABLES.items()},
        )


def sources_of(
    connection: psycopg.Connection, tenant: Tenant, system: str, fields: list[Field]
) -> Sources:
    """The tenant's sources as raw has them now; its schema stands first on the search_path."""
    columns: dict[str, dict[str, str]] = {}
    for entity in ("organizations", "persons"):
        found = connection.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_catalog.pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            (entity,),
        )
        columns[entity] = dict(found.fetchall())
    return Sources(tenant, system, {one.identity: one for one in fields}, columns)


def mapped_target(target: Target, mapping: Mapping, sources: Sources) -> Target:
    """The target with the columns that the mapping fills."""
    entries = mapping.of(target.entity)
    columns: dict[str, sql.Composable] = {}
    attributes: dict[str, sql.Composable] = {}
    for name, group in groupby(entries, lambda one: one.target):
        live = [one for one in group if sources.field(one).removed_at is None]
        if name.startswith(f"{ATTRIBUTES}."):
            if live:  # one that is gone is left as it stands in the column
                attributes[name.removeprefix(f"{ATTRIBUTES}.")] = _first(live, sources)
        else:
            columns[name] = _column(target, name, live, sources)
    if attributes:
        columns[ATTRIBUTES] = _attributes(target, attributes)
    return target.with_mapped(columns)


def converted(entry: Entry, sources: Sources) -> sql.Composed:
    """An entry's value in the type of its target; null where it does not fit."""
    field = sources.field(entry)
    part = part_of_entry(entry, field)
    if part is None:
        raise LookupError(f"{entry.name} was checked to have this part")
    value = expression(part, field.field_type, sources.source(entry))
    if entry.conversion == "text":
        if part.pg_type.endswith("[]"):
            return sql.SQL("array_to_string({}, ', ')").format(value)
        return sql.SQL("({})::text").format(value)
    if entry.conversion == "number":
        kind = "as_bigint" if target_type(entry) == "bigint" else "as_numeric"
        return sql.SQL("pipeline.{}(to_jsonb({}))").format(sql.SQL(kind), value)
    return sql.SQL("({})").format(value)


def given(entry: Entry, sources: Sources) -> sql.Composed:
    """An entry's whole value as raw has it, as jsonb."""
    return value_of(sources.source(entry))


def _first(entries: list[Entry], sources: Sources) -> sql.Composed:
    """The value of the first entry that has one."""
    values = [converted(one, sources) for one in entries]
    if len({target_type(one) for one in entries} | {"any"}) == 1:  # attributes may differ in type
        values = [sql.SQL("to_jsonb({})").format(one) for one in values]
    return sql.SQL("coalesce({})").format(sql.SQL(", ").join(values))


def _column(target: Target, name: str, live: list[Entry], sources: Sources) -> sql.Composed:
    values: list[sql.Composable] = [_first(live, sources)] if live else [_held(target, name)]
    selected = {ours: theirs for theirs, ours in target.columns.items()}
    if name in selected:
        values.append(sql.Identifier("mart", selected[name]))
    return sql.SQL("coalesce({})").format(sql.SQL(", ").join(values))


def _held(target: Target, column: str) -> sql.Composed:
    """What the mart's row holds already."""
    return sql.SQL(
        "(select held.{} from {} as held where held.{} = mart.tenant_id"
        " and held.{} = mart.pipedrive_id)"
    ).format(
        sql.Identifier(column),
        target.identifier,
        sql.Identifier(target.tenant_key),
        sql.Identifier(target.source_key),
    )


def _attributes(target: Target, values: dict[str, sql.Composable]) -> sql.Composed:
    """The attributes that the row holds, with those that are mapped in their place."""
    pairs = [
        sql.SQL("{}::text, {}").format(sql.Literal(name), value) for name, value in values.items()
    ]
    objects = [
        sql.SQL("jsonb_build_object({})").format(
            sql.SQL(", ").join(pairs[start : start + PAIRS_PER_OBJECT])
        )
        for start in range(0, len(pairs), PAIRS_PER_OBJECT)
    ]
    return sql.SQL(
        "(coalesce({held}, '{{}}') - {names}::text[]) || jsonb_strip_nulls({ours})"
    ).format(
        held=_held(target, ATTRIBUTES),
        names=sql.Literal(list(values)),
        ours=sql.SQL(" || ").join(objects),
    )
