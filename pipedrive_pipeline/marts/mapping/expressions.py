"""The SQL that a mapping adds to a build: one expression for each target column.

If no source of a column has a value (blank text counts as none), the column gets the value of the
mart's own select. A column whose sources are all unused keeps the values that were last written.
"""

from __future__ import annotations

from collections.abc import Mapping as Lookup
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors.registry import system as system_of
from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.fields.field_entities import field_entities
from pipedrive_pipeline.marts.fields.raw_fields import RawFields
from pipedrive_pipeline.marts.fields.values import FieldSource, expression, type_of
from pipedrive_pipeline.marts.mapping.form import Entry, Mapping
from pipedrive_pipeline.marts.mapping.validation import part_of_entry, target_type
from pipedrive_pipeline.marts.sources import Filling, MartSource
from pipedrive_pipeline.scope import Scope

ATTRIBUTES: Final = "attributes"
PAIRS_PER_OBJECT: Final = 40  # PostgreSQL's functions take at most 100 arguments


@dataclass(frozen=True)
class Sources:
    """Sources of a mapping's values: the field catalogue, and the columns of the raw tables."""

    scope: Scope
    mapping: Mapping
    fields: Lookup[tuple[str, str], Field]
    marts: Lookup[str, Mart]  # of the entities whose fields may be mapped
    columns: Lookup[str, frozenset[str]]  # of each entity's raw table
    unused: frozenset[str] = frozenset()  # names of entries that are not used for now

    def field(self, entry: Entry) -> Field:
        """Returns the field that an entry reads; validation ensured that it exists."""
        return self.fields[entry.entity, entry.field_key]

    def unpacked(self, entity: str) -> RawFields:
        """Returns every field of one raw row that the mapping reads."""
        table = sql.Identifier(entity)
        entries = {
            entry.field_key: entry
            for entry in self.mapping.of(entity)
            if entry.name not in self.unused
        }
        standard = {
            key: sql.SQL("to_jsonb({}.{})").format(table, sql.Identifier(key))
            if key in self.columns[entity]
            else sql.SQL("null::jsonb")
            for key, entry in entries.items()
            if not self.field(entry).is_custom
        }
        column = system_of(self.scope.system).entity(entity).custom_values
        return RawFields(table, tuple(entries), standard, column=column)

    def source(self, entry: Entry) -> FieldSource:
        """Returns the SQL expressions of the entry's field over one raw row."""
        unpacked = self.unpacked(entry.entity)
        known = type_of(self.scope.system, self.field(entry).field_type)
        return FieldSource(
            scope=self.scope,
            entity=entry.entity,
            field_key=entry.field_key,
            value=unpacked.value(entry.field_key),
            extra=unpacked.extra,
            referred=sql.Identifier(known.refers_to) if known and known.refers_to else None,
        )


def sources_of(
    connection: psycopg.Connection, scope: Scope, mapping: Mapping, fields: list[Field]
) -> Sources:
    """Returns a mapping's sources; the raw schema must be first on the search_path."""
    columns: dict[str, frozenset[str]] = {}
    for entity in mapping.entities:
        rows = connection.execute(
            "select attname from pg_catalog.pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            (entity,),
        )
        columns[entity] = frozenset(row[0] for row in rows)
    return Sources(
        scope=scope,
        mapping=mapping,
        fields={field.identity: field for field in fields},
        marts=field_entities(scope.system),
        columns=columns,
    )


def mapped_source(source: MartSource, sources: Sources) -> MartSource:
    """Returns the mart's source with the columns that the mapping fills."""
    if source.defined_by is None:  # such as parts of records that have fields
        return source
    entries = sources.mapping.of(source.entity)
    columns: dict[str, sql.Composable] = {}
    attributes: dict[str, sql.Composable] = {}
    fillings: list[Filling] = []
    for name, group in groupby(entries, lambda entry: entry.target):
        live = [entry for entry in group if entry.name not in sources.unused]
        fillings += [filling_of(entry, sources) for entry in live]
        if name.startswith(f"{ATTRIBUTES}."):
            if live:  # an unused one keeps its value in the column
                attributes[name.removeprefix(f"{ATTRIBUTES}.")] = _first(live, sources)
        else:
            columns[name] = _column(source, name, live, sources)
    if attributes:
        columns[ATTRIBUTES] = _attributes(source, attributes)
    if not columns:
        return source
    return source.with_mapped(columns, tuple(fillings), sources.unpacked(source.entity))


def filling_of(entry: Entry, sources: Sources) -> Filling:
    """Returns an entry's value in its field's type, and converted for its target (or null)."""
    field = sources.field(entry)
    part = part_of_entry(entry, field)
    if part is None:
        raise LookupError(f"{entry.name} was validated to have this part")
    value = _filled(part.pg_type, expression(part, sources.source(entry)))
    is_whole = target_type(entry, sources.marts[entry.entity]) == "bigint"
    converted: sql.Composable = sql.SQL("({})").format(value)
    if entry.conversion == "text":
        form = "array_to_string({}, ', ')" if part.pg_type.endswith("[]") else "({})::text"
        converted = _filled("text", sql.SQL(form).format(value))
    elif entry.conversion == "number":
        kind = "as_bigint" if is_whole else "as_numeric"
        converted = sql.SQL("pipeline.{}(to_jsonb({}))").format(sql.SQL(kind), value)
    return Filling(
        field_key=entry.field_key,
        source=entry.source,
        target=entry.target,
        value=value,
        converted=converted,
        refusal=_refusal(entry, is_whole=is_whole),
    )


def _filled(pg_type: str, value: sql.Composable) -> sql.Composable:
    """Returns the value, or null for blank text and empty lists, which fill no column."""
    if pg_type == "text":
        return sql.SQL("pipeline.filled({})").format(value)
    if pg_type.endswith("[]"):
        return sql.SQL("nullif({}, '{{}}')").format(value)
    if pg_type == "jsonb":
        return sql.SQL("case when not pipeline.is_empty({0}) then {0} end").format(value)
    return value


def _refusal(entry: Entry, *, is_whole: bool) -> str | None:
    """Returns the reason if a value cannot be converted; None if every value can."""
    if entry.conversion != "number":
        return None
    return "is no whole number of 64 bits" if is_whole else "is no number"


def _first(entries: list[Entry], sources: Sources) -> sql.Composed:
    """Returns the value of the first entry that has one."""
    values: list[sql.Composable] = [filling_of(entry, sources).converted for entry in entries]
    if entries[0].attribute is not None:  # attributes may differ in type
        values = [sql.SQL("to_jsonb({})").format(value) for value in values]
    return sql.SQL("coalesce({})").format(sql.SQL(", ").join(values))


def _column(source: MartSource, name: str, live: list[Entry], sources: Sources) -> sql.Composed:
    values: list[sql.Composable] = [_first(live, sources)] if live else [_stored(source, name)]
    if name in source.columns:
        values.append(source.value(name))
    return sql.SQL("coalesce({})").format(sql.SQL(", ").join(values))


def _stored(source: MartSource, column: str) -> sql.Composed:
    """Returns the value that the mart's row has now."""
    return sql.SQL(
        "(select stored.{} from {} as stored where {} and stored.remote_id = mart.remote_id::text)"
    ).format(sql.Identifier(column), source.identifier, source.of_tenant("stored"))


def _attributes(source: MartSource, values: dict[str, sql.Composable]) -> sql.Composed:
    """Returns the row's attributes with the mapped ones replaced."""
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
        "(coalesce({stored}, '{{}}') - {names}::text[]) || jsonb_strip_nulls({ours})"
    ).format(
        stored=_stored(source, ATTRIBUTES),
        names=sql.Literal(list(values)),
        ours=sql.SQL(" || ").join(objects),
    )
