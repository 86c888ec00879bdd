"""The DDL of one mart view: replaces it in place, dropping it only if nothing depends on it.

`create or replace view` can only append columns, and `alter view … rename column` keeps dependent
objects (https://www.postgresql.org/docs/current/sql-createview.html). So a view's columns stay in
their order, and the view is dropped only to remove a column or change its type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.fields.columns import OVERFLOW_COLUMN, Layout, ViewColumn
from pipedrive_pipeline.marts.fields.field_entities import custom_values
from pipedrive_pipeline.marts.fields.raw_fields import RawFields
from pipedrive_pipeline.marts.fields.values import (
    FieldSource,
    expression,
    kind_of,
    type_of,
)
from pipedrive_pipeline.marts.sources import MartSource
from pipedrive_pipeline.marts.views.standard_columns import (
    TOMBSTONE_COLUMNS,
    StandardColumn,
    standard_columns,
    standard_rows,
)
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant


@dataclass(frozen=True)
class RawRecords:
    """The raw records of one system behind a mart's rows, which hold their custom fields."""

    scope: Scope
    source: MartSource
    tables: frozenset[str]  # the existing raw tables of the system
    keys: tuple[str, ...] = ()  # of the custom fields in the view

    @property
    def alias(self) -> sql.Identifier:
        """The raw row in the view's query."""
        return sql.Identifier(f"{self.scope.system}_record")

    @property
    def fields(self) -> RawFields:
        """The joins and values of the custom fields."""
        return RawFields(
            self.alias,
            self.keys,
            prefix=f"{self.scope.system}_",
            column=custom_values(self.source),
        )

    def table(self, name: str) -> sql.Identifier | None:
        """Returns a raw table; None if it was never loaded."""
        return sql.Identifier(self.scope.raw_schema, name) if name in self.tables else None

    def field(self, field_key: str, field_type: str) -> FieldSource:
        """Returns the SQL expressions of a field's values for a row of the view."""
        known = type_of(self.scope.system, field_type)
        return FieldSource(
            scope=self.scope,
            entity=self.source.entity,
            field_key=field_key,
            value=self.fields.value(field_key),
            extra=self.fields.extra,
            referred=self.table(known.refers_to) if known and known.refers_to else None,
        )

    def joins(self) -> sql.Composed:
        """Returns the joins of the mart's row with its raw row and the fields of that."""
        source = self.source
        no_record = sql.SQL(
            "(select null::{} as {}, null::jsonb as {}, null::jsonb as extra where false)"
        ).format(
            sql.SQL(source.key_type.value),
            sql.Identifier(source.key),
            sql.Identifier(custom_values(source)),
        )
        joined = sql.SQL(
            " left join {records} as {alias} on {alias}.{key} = case when mart.system = {system}"
            " then {remote_id} end"
        ).format(
            records=self.table(source.entity) or no_record,
            alias=self.alias,
            key=sql.Identifier(source.key),
            system=sql.Literal(self.scope.system),
            remote_id=source.as_key(sql.Identifier("mart", "remote_id")),
        )
        return joined + self.fields.joins()


@dataclass(frozen=True)
class MartView:
    """One view of a tenant: its standard columns, and the sources of its custom fields."""

    tenant: Tenant
    mart: Mart
    has_tombstones: bool
    records: Mapping[str, RawRecords]  # by system

    @property
    def name(self) -> str:
        """The view's name."""
        return f"{self.mart.name}_all" if self.has_tombstones else self.mart.name

    @property
    def identifier(self) -> sql.Identifier:
        """The view, quoted."""
        return sql.Identifier(self.tenant.analytics_schema, self.name)

    @property
    def comment(self) -> str:
        """The comment of the view."""
        shown = (
            "all of them, also those that are gone at the source, marked"
            if self.has_tombstones
            else f"those that are there; the others are in {self.mart.name}_all"
        )
        return f"{self.mart.of}: {shown}. Columns that changed: see column_changes."

    @property
    def standard_columns(self) -> dict[str, StandardColumn]:
        """The columns that every tenant's view has, by name."""
        return {
            column.name: column
            for column in standard_columns(self.mart)
            if self.has_tombstones or column.name not in TOMBSTONE_COLUMNS
        }

    def with_fields(self, columns: Iterable[ViewColumn]) -> MartView:
        """Returns the view with the sources of these columns."""
        keys = {system: dict[str, None]() for system in self.records}
        for column in columns:
            if column.system in keys:
                keys[column.system][column.field_key] = None
        records = {
            system: replace(records, keys=tuple(keys[system]))
            for system, records in self.records.items()
        }
        return replace(self, records=records)


def tables_of(connection: psycopg.Connection, schema: str) -> frozenset[str]:
    """Returns the names of a raw schema's tables."""
    rows = connection.execute(
        "select pg_tables.tablename from pg_catalog.pg_tables where pg_tables.schemaname = %s",
        (schema,),
    )
    return frozenset(row[0] for row in rows)


def has_dependents(connection: psycopg.Connection, view: MartView) -> bool:
    """True if another view, a function or a column's type depends on the view."""
    row = connection.execute(
        _DEPENDENTS, {"schema": view.tenant.analytics_schema, "view": view.name}
    ).fetchone()
    return bool(row and row[0])


def replace_view(
    connection: psycopg.Connection,
    view: MartView,
    stored: Sequence[ViewColumn],
    layout: Layout,
    fields: Mapping[tuple[str, str], Field],
) -> None:
    """Replaces one view, whose columns were ``stored``, by the layout.

    Args:
        connection: the transaction of all views.
        view: which view.
        stored: the columns of its custom fields in the last layout.
        layout: those of the new one.
        fields: custom fields by system and key.
    """
    view = view.with_fields(layout.shown)
    present = _present(connection, view)
    now = {_identity(column): column.column_name for column in layout.shown}
    moved = {
        column.column_name: now[_identity(column)]
        for column in stored
        if column.column_name in present and _identity(column) in now
    }
    wanted = {
        **{name: column.value for name, column in view.standard_columns.items()},
        **{column.column_name: _shown(view, column) for column in layout.shown},
    }
    if overflow := _overflow(view, layout):
        wanted[OVERFLOW_COLUMN] = overflow
    gone = {column.column_name for column in stored if _identity(column) not in now}
    grants: list[tuple[str, str]] = []
    types = {column.column_name: column.definition.pg_type for column in layout.shown}
    if any(
        name in gone
        or moved.get(name, name) not in wanted
        or not kind.startswith(types.get(moved.get(name, name), kind))
        for name, kind in present.items()
    ):
        grants = _grants(connection, view)
        connection.execute(sql.SQL("drop view {}").format(view.identifier))
        present = {}
    _rename(connection, view, {old: new for old, new in moved.items() if present and old != new})
    order = [moved.get(name, name) for name in present]
    order += [name for name in wanted if name not in order]
    connection.execute(_definition(view, [(name, wanted[name]) for name in order]))
    for privilege, grantee in grants:
        connection.execute(
            sql.SQL("grant {} on {} to {}").format(
                sql.SQL(privilege), view.identifier, sql.SQL(grantee)
            )
        )
    _comment(connection, view, layout, fields)


def _identity(column: ViewColumn) -> tuple[str, str, str, str]:
    return column.system, column.field_key, column.field_type, column.part


def _present(connection: psycopg.Connection, view: MartView) -> dict[str, str]:
    rows = connection.execute(
        """
        select pg_attribute.attname, format_type(pg_attribute.atttypid, pg_attribute.atttypmod)
        from pg_catalog.pg_attribute
        where pg_attribute.attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))
            and pg_attribute.attnum > 0
        order by pg_attribute.attnum asc
        """,
        (view.tenant.analytics_schema, view.name),
    )
    return dict(rows.fetchall())


def _shown(view: MartView, column: ViewColumn) -> sql.Composable:
    records = view.records.get(column.system)
    if records is None:  # the column stays for what is built on the view
        return sql.SQL("null::{}").format(sql.SQL(column.definition.pg_type))
    return expression(column.definition, records.field(column.field_key, column.field_type))


def _overflow(view: MartView, layout: Layout) -> sql.Composable | None:
    """Returns the SQL of overflowing fields: their values as sent, by readable name."""
    systems = {column.system for column in layout.columns if column.is_overflow}
    values = [
        sql.SQL(
            "(select jsonb_object_agg(view_columns.column_name, pipeline.field_value("
            "{row}.custom_fields, {row}.extra, view_columns.field_key))"
            " from integration.view_columns where view_columns.tenant_id = {tenant}"
            " and view_columns.system = {system} and view_columns.mart = {mart}"
            " and view_columns.is_overflow"
            " and pipeline.field_value({row}.custom_fields, {row}.extra, view_columns.field_key)"
            " is not null)"
        ).format(
            row=records.fields.row,
            tenant=sql.Literal(view.tenant.slug),
            system=sql.Literal(system),
            mart=sql.Literal(view.mart.name),
        )
        for system, records in view.records.items()
        if system in systems
    ]
    # A row is of one system, so at most one of the values is not null.
    return sql.SQL("coalesce({})").format(sql.SQL(", ").join(values)) if values else None


def _definition(view: MartView, columns: list[tuple[str, sql.Composable]]) -> sql.Composed:
    return sql.SQL(
        "create or replace view {view} with (security_barrier = true) as select {columns}"
        " from {rows}{fields}"
    ).format(
        view=view.identifier,
        columns=sql.SQL(", ").join(
            sql.SQL("{} as {}").format(value, sql.Identifier(name)) for name, value in columns
        ),
        rows=standard_rows(view.mart, view.tenant, has_tombstones=view.has_tombstones),
        fields=sql.SQL("").join(records.joins() for records in view.records.values()),
    )


def _rename(connection: psycopg.Connection, view: MartView, names: Mapping[str, str]) -> None:
    """Renames columns by way of temporary names, because two fields may have swapped names."""
    steps = [
        *((old, f"renaming {number}") for number, old in enumerate(names)),
        *((f"renaming {number}", new) for number, new in enumerate(names.values())),
    ]
    for old, new in steps:
        connection.execute(
            sql.SQL("alter view {} rename column {} to {}").format(
                view.identifier, sql.Identifier(old), sql.Identifier(new)
            )
        )


def _grants(connection: psycopg.Connection, view: MartView) -> list[tuple[str, str]]:
    """Returns privilege and quoted grantee of each grant, except the owner's."""
    return connection.execute(
        _GRANTS, {"schema": view.tenant.analytics_schema, "view": view.name}
    ).fetchall()


def _comment(
    connection: psycopg.Connection,
    view: MartView,
    layout: Layout,
    fields: Mapping[tuple[str, str], Field],
) -> None:
    comments = {name: column.comment for name, column in view.standard_columns.items()}
    comments |= {
        column.column_name: _meaning(column, fields.get((column.system, column.field_key)))
        for column in layout.shown
    }
    if any(column.is_overflow for column in layout.columns):
        comments[OVERFLOW_COLUMN] = (
            "Fields for which the view has no room, by readable name, as sent."
        )
    statements = [
        sql.SQL("comment on view {} is {}").format(view.identifier, sql.Literal(view.comment)),
        *(
            sql.SQL("comment on column {} is {}").format(
                sql.Identifier(view.tenant.analytics_schema, view.name, name), sql.Literal(comment)
            )
            for name, comment in comments.items()
        ),
    ]
    connection.execute(sql.SQL("; ").join(statements))


def _meaning(column: ViewColumn, field: Field | None) -> str:
    name = field.field_name if field else column.named_after
    facts = [f"{name} (field {column.field_key} of {column.system}, type {column.field_type})"]
    if column.definition.meaning:
        facts.append(column.definition.meaning)
    if kind_of(column.system, column.field_type) is None:
        facts.append("this type is not known here")
    if field and field.removed_at:
        facts.append(f"no longer in the source since {field.removed_at:%Y-%m-%d}")
    if column.is_retired and field:
        facts.append(f"the field's type is {field.field_type} now; see column_changes")
    return ": ".join([facts[0], "; ".join(facts[1:])]) if facts[1:] else facts[0]


_DEPENDENTS = """
select exists (
    select
    from pg_catalog.pg_class as shown
    inner join pg_catalog.pg_depend
        on (pg_depend.refclassid = 'pg_class'::regclass and pg_depend.refobjid = shown.oid)
        or (pg_depend.refclassid = 'pg_type'::regclass and pg_depend.refobjid = shown.reltype)
    where shown.oid = to_regclass(format('%%I.%%I', %(schema)s::text, %(view)s::text))
        and pg_depend.deptype = 'n'
        and not (
            pg_depend.classid = 'pg_rewrite'::regclass
            and pg_depend.objid in (
                select pg_rewrite.oid
                from pg_catalog.pg_rewrite
                where pg_rewrite.ev_class = shown.oid
            )
        )
)
"""
_GRANTS = """
select
    granted.privilege_type,
    case when granted.grantee = 0 then 'public' else granted.grantee::regrole::text end
from pg_catalog.pg_class as shown
cross join lateral aclexplode(shown.relacl) as granted
where shown.oid = to_regclass(format('%%I.%%I', %(schema)s::text, %(view)s::text))
    and granted.grantee <> shown.relowner
order by granted.privilege_type asc
"""
