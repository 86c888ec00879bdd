"""Reads tables, columns, types and comments from Postgres's catalogue.

Source: https://www.postgresql.org/docs/current/catalogs.html.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import psycopg
from psycopg import sql


@dataclass(frozen=True)
class TableColumn:
    """One column; ``comment`` is empty if it has none."""

    name: str
    type: str
    is_nullable: bool
    comment: str


@dataclass(frozen=True)
class Relation:
    """One table or view with its columns in order."""

    schema: str
    name: str
    is_view: bool
    comment: str
    columns: tuple[TableColumn, ...]


def is_there(connection: psycopg.Connection, schema: str, name: str) -> bool:
    """True if the schema has a table or view of this name."""
    row = connection.execute(
        "select to_regclass(format('%%I.%%I', %s::text, %s::text)) is not null", (schema, name)
    ).fetchone()
    return bool(row and row[0])


def tables_of(connection: psycopg.Connection, schema: str) -> frozenset[str]:
    """Returns the names of a schema's tables; none if there is no such schema."""
    query = "select tablename from pg_catalog.pg_tables where schemaname = %s"
    return frozenset(row[0] for row in connection.execute(query, [schema]))


def columns_of(connection: psycopg.Connection, schema: str) -> dict[str, frozenset[str]]:
    """Returns the names of the columns of a schema's tables; none if there is no such schema."""
    query = """
        select pg_class.relname, array_agg(pg_attribute.attname::text)
        from pg_catalog.pg_class
        inner join pg_catalog.pg_namespace
            on pg_namespace.oid = pg_class.relnamespace
        inner join pg_catalog.pg_attribute
            on pg_attribute.attrelid = pg_class.oid
            and pg_attribute.attnum > 0
            and not pg_attribute.attisdropped
        where pg_namespace.nspname = %s
            and pg_class.relkind in ('r', 'p')
        group by pg_class.relname
        """
    return {name: frozenset(columns) for name, columns in connection.execute(query, [schema])}


def row_counts(
    connection: psycopg.Connection, schema: str, tables: Iterable[str]
) -> dict[str, int]:
    """Returns the number of rows of tables that exist, which the connection may see."""
    counts = [
        sql.SQL("select {}, count(*) from {}").format(
            sql.Literal(table), sql.Identifier(schema, table)
        )
        for table in tables
    ]
    return dict(connection.execute(sql.SQL(" union all ").join(counts)).fetchall())


def relations(connection: psycopg.Connection, schema: str) -> list[Relation]:
    """Every table and view of a schema, by name; none if there is no such schema."""
    columns_of_tables = connection.execute(
        """
        select
            pg_class.relname,
            pg_class.relkind = 'v',
            coalesce(obj_description(pg_class.oid, 'pg_class'), ''),
            pg_attribute.attname,
            format_type(pg_attribute.atttypid, pg_attribute.atttypmod),
            not pg_attribute.attnotnull,
            coalesce(col_description(pg_class.oid, pg_attribute.attnum), '')
        from pg_catalog.pg_class
        inner join pg_catalog.pg_namespace
            on pg_namespace.oid = pg_class.relnamespace
        inner join pg_catalog.pg_attribute
            on pg_attribute.attrelid = pg_class.oid
            and pg_attribute.attnum > 0
            and not pg_attribute.attisdropped
        where pg_namespace.nspname = %s
            and pg_class.relkind in ('r', 'p', 'v')
        order by
            pg_class.relname asc,
            pg_attribute.attnum asc
        """,
        (schema,),
    ).fetchall()
    return [
        Relation(schema, name, is_view, comment, tuple(TableColumn(*row[3:]) for row in rows))
        for (name, is_view, comment), rows in groupby(columns_of_tables, key=lambda row: row[:3])
    ]


def added_objects(connection: psycopg.Connection, tables: Sequence[tuple[str, str]]) -> list[str]:
    """Rules and triggers on these tables, such as `the trigger x on crm.contacts`.

    This project makes none on a mart: they are an app's, and may change or refuse what we write.
    """
    names = [sql.Identifier(*table).as_string(connection) for table in tables]
    return [row[0] for row in connection.execute(_ADDED, (names,))]


_ADDED = """
select format('the %%s %%I on %%s', added.kind, added.name, added.relation::regclass)
from (
    select 'rule' as kind, pg_rewrite.rulename as name, pg_rewrite.ev_class as relation
    from pg_catalog.pg_rewrite
    union all
    select 'trigger', pg_trigger.tgname, pg_trigger.tgrelid
    from pg_catalog.pg_trigger
    where not pg_trigger.tgisinternal
) as added
where added.relation = any (%s::text[]::regclass[])
order by added.relation asc, added.kind asc, added.name asc
"""
