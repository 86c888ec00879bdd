"""The DDL of one mart view: replaces it in place, dropping it only if nothing depends on it.

`create or replace view` can only append columns, and `alter view … rename column` keeps dependent
objects (https://www.postgresql.org/docs/current/sql-createview.html). So a view's columns stay in
their order, and the view is dropped only to remove a column or change its type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.fields.columns import OVERFLOW_COLUMN, Layout, ViewColumn
from pipedrive_pipeline.marts.fields.raw_fields import RawFields
from pipedrive_pipeline.marts.fields.values import (
    REFERENCE_TABLES,
    FieldSource,
    expression,
    has_rule,
)
from pipedrive_pipeline.marts.sources import MartSource
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant

RECORD = sql.SQL("record")
NO_RECORD = sql.SQL(
    "(select null::bigint as id, null::jsonb as custom_fields, null::jsonb as extra where false)"
)


@dataclass(frozen=True)
class MartView:
    """One view of a tenant: the query of its fixed columns, and the source of its custom fields."""

    tenant: Tenant
    system: str
    target: MartSource
    name: str
    comment: str
    query: sql.SQL  # the fixed columns
    raw_tables: frozenset[str]
    keys: tuple[str, ...] = ()  # of the custom fields in the view

    @property
    def unpacked(self) -> RawFields:
        """The joins and values of its custom fields."""
        return RawFields(RECORD, self.keys)

    @property
    def identifier(self) -> sql.Identifier:
        """The view, quoted."""
        return sql.Identifier(self.tenant.analytics_schema, self.name)

    def raw(self, table: str) -> sql.Identifier | None:
        """Returns a raw table; None if it was never loaded."""
        schema = Scope(self.tenant, self.system).raw_schema
        return sql.Identifier(schema, table) if table in self.raw_tables else None

    def fixed_columns(self, connection: psycopg.Connection) -> list[str]:
        """Returns the names of the columns that every tenant's view has."""
        shape = sql.SQL("select * from ({}) as shape limit 0").format(self.query)
        return [column.name for column in connection.execute(shape).description or ()]

    def source(self, field_key: str) -> FieldSource:
        """Returns the SQL expressions of a field's values for a row of the view."""
        tables = {kind: self.raw(table) for kind, table in REFERENCE_TABLES.items()}
        return FieldSource(
            tenant=self.tenant.slug,
            system=self.system,
            entity=self.target.entity,
            field_key=field_key,
            value=self.unpacked.value(field_key),
            extra=self.unpacked.extra,
            referred={kind: table for kind, table in tables.items() if table},
        )


def tables_of(connection: psycopg.Connection, schema: str) -> frozenset[str]:
    """Returns the existing raw tables of those that views read."""
    rows = connection.execute(
        "select pg_tables.tablename from pg_catalog.pg_tables where pg_tables.schemaname = %s",
        (schema,),
    )
    return frozenset(row[0] for row in rows) & set(REFERENCE_TABLES.values())


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
    fields: Mapping[str, Field],
) -> None:
    """Replaces one view, whose columns were ``stored``, by the layout; ``fields`` by key."""
    keys = dict.fromkeys(column.field_key for column in layout.shown)
    view = replace(view, keys=tuple(keys))
    present = _present(connection, view)
    now = {_identity(column): column.column_name for column in layout.shown}
    moved = {
        column.column_name: now[_identity(column)]
        for column in stored
        if column.column_name in present and _identity(column) in now
    }
    wanted = {
        **{name: sql.Identifier("mart", name) for name in view.fixed_columns(connection)},
        **{column.column_name: _shown(view, column) for column in layout.shown},
    }
    if any(column.is_overflow for column in layout.columns):
        wanted[OVERFLOW_COLUMN] = _overflow(view)
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


def comment_columns(connection: psycopg.Connection, schema: str, view: str) -> None:
    """Copies the comment of the `crm` column to each view column that has none."""
    uncommented = connection.execute(_UNCOMMENTED, {"schema": schema, "view": view}).fetchall()
    for column, comment in uncommented:
        connection.execute(
            sql.SQL("comment on column {} is {}").format(
                sql.Identifier(schema, view, column), sql.Literal(comment)
            )
        )


def _identity(column: ViewColumn) -> tuple[str, str, str]:
    return column.field_key, column.field_type, column.part


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
    return expression(column.definition, column.field_type, view.source(column.field_key))


def _overflow(view: MartView) -> sql.Composed:
    """Returns the SQL of overflowing fields: their values as sent, by readable name."""
    return sql.SQL(
        "(select jsonb_object_agg(view_columns.column_name, pipeline.field_value("
        "sent.custom_fields, sent.extra, view_columns.field_key))"
        " from integration.view_columns where view_columns.tenant_id = {}"
        " and view_columns.system = {} and view_columns.mart = {} and view_columns.is_overflow"
        " and pipeline.field_value(sent.custom_fields, sent.extra, view_columns.field_key)"
        " is not null)"
    ).format(sql.Literal(view.tenant.slug), sql.Literal(view.system), sql.Literal(view.target.name))


def _definition(view: MartView, columns: list[tuple[str, sql.Composable]]) -> sql.Composed:
    return sql.SQL(
        "create or replace view {view} with (security_barrier = true) as select {columns}"
        " from ({query}) as mart"
        " left join {records} as record on record.id = mart.pipedrive_id{fields}"
    ).format(
        view=view.identifier,
        columns=sql.SQL(", ").join(
            sql.SQL("{} as {}").format(value, sql.Identifier(name)) for name, value in columns
        ),
        query=view.query,
        records=view.raw(view.target.entity) or NO_RECORD,
        fields=view.unpacked.joins(),
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
    connection: psycopg.Connection, view: MartView, layout: Layout, fields: Mapping[str, Field]
) -> None:
    about = [
        sql.SQL("comment on view {} is {}").format(
            view.identifier,
            sql.Literal(f"{view.comment} Columns that changed: see column_changes."),
        )
    ]
    schema, name = view.tenant.analytics_schema, view.name
    about += [
        sql.SQL("comment on column {} is {}").format(
            sql.Identifier(schema, name, column.column_name),
            sql.Literal(_meaning(column, fields.get(column.field_key))),
        )
        for column in layout.shown
    ]
    if any(column.is_overflow for column in layout.columns):
        about.append(
            sql.SQL("comment on column {} is {}").format(
                sql.Identifier(schema, name, OVERFLOW_COLUMN),
                sql.Literal("Fields for which the view has no room, by readable name, as sent."),
            )
        )
    connection.execute(sql.SQL("; ").join(about))
    comment_columns(connection, schema, name)


def _meaning(column: ViewColumn, field: Field | None) -> str:
    name = field.field_name if field else column.named_after
    facts = [f"{name} (field {column.field_key}, type {column.field_type})"]
    if column.definition.meaning:
        facts.append(column.definition.meaning)
    if not has_rule(column.field_type):
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
_UNCOMMENTED = """
select
    shown.attname,
    col_description(stored.attrelid, stored.attnum)
from pg_catalog.pg_attribute as shown
inner join pg_catalog.pg_attribute as stored
    on stored.attname = shown.attname
    and stored.attrelid = to_regclass('crm.' || regexp_replace(%(view)s, '_all$', ''))
where shown.attrelid = to_regclass(format('%%I.%%I', %(schema)s::text, %(view)s::text))
    and shown.attnum > 0
    and col_description(shown.attrelid, shown.attnum) is null
order by shown.attnum asc
"""
