"""An app's table as the catalogue describes it: columns, key, triggers, policies, rights.

Source: https://www.postgresql.org/docs/current/catalogs.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg.rows import class_row

# Schemas of this project, whose tables no sink may write.
OURS: Final = (
    "crm", "integration", "pipeline", "pipeline_locks", "pipeline_sinks", "dagster",
    "information_schema",
)  # fmt: skip
PREFIXES_OF_OURS: Final = ("raw_", "staging_", "analytics_", "pg_")


@dataclass(frozen=True)
class AppColumn:
    """One column.

    Attributes:
        name: of the column.
        type: with its schema where that is not pg_catalog, and its length.
        base: name of the type, or of the one that a domain is made of.
        category: Postgres's category of that type: S text, N numeric, E enum …
        is_required: it may not be null, and has no default.
        is_not_null: it may not be null.
        is_computed: Postgres alone fills it.
        sequence: the sequence that its default calls, as text; None without one.
    """

    name: str
    type: str
    base: str
    category: str
    is_required: bool
    is_not_null: bool
    is_computed: bool
    sequence: str | None

    @property
    def is_json(self) -> bool:
        """True if a value is JSON, which is not read from a text within JSON."""
        return self.base in {"json", "jsonb"}


@dataclass(frozen=True)
class AppTable:
    """One table of an app.

    Attributes:
        columns: by name, in the order of the table.
        keys: the columns of each unique index over all rows, the primary key first.
        triggers: names of the app's triggers.
        has_policies: row level security is on.
        is_grantable: our login may grant rights on it.
    """

    schema: str
    name: str
    columns: Mapping[str, AppColumn]
    keys: tuple[tuple[str, ...], ...]
    triggers: tuple[str, ...]
    has_policies: bool
    is_grantable: bool

    @property
    def full_name(self) -> str:
        """Schema and table as people write them."""
        return f"{self.schema}.{self.name}"

    @property
    def is_ours(self) -> bool:
        """True if its schema is one of this project, or Postgres's."""
        return self.schema in OURS or self.schema.startswith(PREFIXES_OF_OURS)


def app_table(connection: psycopg.Connection, table: tuple[str, str]) -> AppTable | None:
    """Returns a table of the database; None if there is none of this name."""
    row = connection.execute(_TABLE, table).fetchone()
    if row is None:
        return None
    oid, has_policies, is_grantable = row
    columns = connection.cursor(row_factory=class_row(AppColumn)).execute(_COLUMNS, [oid])
    return AppTable(
        schema=table[0],
        name=table[1],
        columns={column.name: column for column in columns},
        keys=tuple(tuple(key) for (key,) in connection.execute(_KEYS, [oid])),
        triggers=tuple(name for (name,) in connection.execute(_TRIGGERS, [oid])),
        has_policies=has_policies,
        is_grantable=is_grantable,
    )


def app_table_named(connection: psycopg.Connection, name: str) -> AppTable | None:
    """Returns the table that is written as `schema.table`; None if there is none."""
    schema, _, table = name.partition(".")
    return app_table(connection, (schema, table))


def app_tables(connection: psycopg.Connection) -> list[str]:
    """Returns the tables of the database that are not ours, as `schema.table`, in their order."""
    rows = connection.execute(_TABLES, [list(OURS), list(PREFIXES_OF_OURS)])
    return [name for (name,) in rows]


def has_policy_for(connection: psycopg.Connection, table: tuple[str, str], role: str) -> bool:
    """Returns whether a policy of the table applies to a role, for reading and writing."""
    row = connection.execute(_POLICY, [*table, role]).fetchone()
    return bool(row and row[0])


_TABLES = """
select pg_namespace.nspname || '.' || pg_class.relname
from pg_catalog.pg_class
inner join pg_catalog.pg_namespace
    on pg_namespace.oid = pg_class.relnamespace
where pg_class.relkind in ('r', 'p')
    and not pg_class.relispartition
    and pg_namespace.nspname <> all (%s)
    and not exists (
        select
        from unnest(%s::text[]) as prefix (name)
        where starts_with(pg_namespace.nspname, prefix.name)
    )
order by
    pg_namespace.nspname,
    pg_class.relname
"""
_TABLE = """
select
    pg_class.oid,
    pg_class.relrowsecurity,
    pg_has_role(pg_class.relowner, 'usage')
from pg_catalog.pg_class
inner join pg_catalog.pg_namespace
    on pg_namespace.oid = pg_class.relnamespace
where pg_namespace.nspname = %s
    and pg_class.relname = %s
    and pg_class.relkind in ('r', 'p')
"""
_COLUMNS = """
select
    pg_attribute.attname as name,
    format_type(pg_attribute.atttypid, pg_attribute.atttypmod) as type,
    base_type.typname as base,
    base_type.typcategory::text as category,
    pg_attribute.attnotnull and not pg_attribute.atthasdef and pg_attribute.attidentity = ''
        as is_required,
    pg_attribute.attnotnull or own_type.typnotnull as is_not_null,
    pg_attribute.attgenerated <> '' or pg_attribute.attidentity = 'a' as is_computed,
    (
        -- pg_get_serial_sequence needs a right to the schema, which the sink's role alone has.
        select pg_depend.objid::regclass::text
        from pg_catalog.pg_depend
        inner join pg_catalog.pg_class
            on pg_class.oid = pg_depend.objid
            and pg_class.relkind = 'S'
        where pg_depend.classid = 'pg_catalog.pg_class'::regclass
            and pg_depend.refclassid = 'pg_catalog.pg_class'::regclass
            and pg_depend.refobjid = pg_attribute.attrelid
            and pg_depend.refobjsubid = pg_attribute.attnum
            and pg_depend.deptype in ('a', 'i')
        limit 1
    ) as sequence
from pg_catalog.pg_attribute
inner join pg_catalog.pg_type as own_type
    on own_type.oid = pg_attribute.atttypid
inner join pg_catalog.pg_type as base_type
    on base_type.oid = coalesce(nullif(own_type.typbasetype, 0), own_type.oid)
where pg_attribute.attrelid = %s
    and pg_attribute.attnum > 0
    and not pg_attribute.attisdropped
order by pg_attribute.attnum
"""
_KEYS = """
select array_agg(pg_attribute.attname::text order by place.number)
from pg_catalog.pg_index
cross join unnest(pg_index.indkey::smallint[]) with ordinality as place (attnum, number)
inner join pg_catalog.pg_attribute
    on pg_attribute.attrelid = pg_index.indrelid
    and pg_attribute.attnum = place.attnum
where pg_index.indrelid = %s
    and pg_index.indisunique
    and pg_index.indpred is null
    and pg_index.indexprs is null
    and place.number <= pg_index.indnkeyatts
group by
    pg_index.indexrelid,
    pg_index.indisprimary
order by
    pg_index.indisprimary desc,
    pg_index.indexrelid
"""
_TRIGGERS = """
select pg_trigger.tgname::text
from pg_catalog.pg_trigger
where pg_trigger.tgrelid = %s
    and not pg_trigger.tgisinternal
order by pg_trigger.tgname
"""
_POLICY = """
select bool_or(pg_policies.cmd in ('ALL', 'SELECT'))
    and bool_or(pg_policies.cmd in ('ALL', 'UPDATE'))
from pg_catalog.pg_policies
where pg_policies.schemaname = %s
    and pg_policies.tablename = %s
    and (pg_policies.roles && array['public', %s]::name[])
"""
