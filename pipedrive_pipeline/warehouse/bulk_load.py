"""Fills an empty table without the indexes that only queries need, and makes them afterwards.

An index over many rows at once takes a fraction of the work of one that grows row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors, sql


@contextmanager
def indexes_made_afterwards(
    connection: psycopg.Connection, table: tuple[str, str]
) -> Iterator[None]:
    """Drops a table's indexes for the block, if nobody can miss them; all in one transaction.

    Readers of the table wait until the transaction ends. So indexes are dropped only if the
    table was never filled, the database has one tenant, and no session uses the table now. Those of
    constraints stay, and those that have more than their definition, such as a comment.

    Args:
        connection: in a transaction, which fills the table in the block.
        table: schema and name.
    """
    indexes = connection.execute(_INDEXES, table).fetchall()
    if not (indexes and _is_locked(connection, table)):
        yield
        return
    names = [sql.Identifier(table[0], name) for name, _ in indexes]
    connection.execute(sql.SQL("drop index {}").format(sql.SQL(", ").join(names)))
    yield
    for _, definition in indexes:
        connection.execute(definition.encode())


def _is_locked(connection: psycopg.Connection, table: tuple[str, str]) -> bool:
    """Locks a table against everybody else; False if some session uses it."""
    lock = sql.SQL("lock table {} in access exclusive mode nowait").format(sql.Identifier(*table))
    try:
        with connection.transaction():
            connection.execute(lock)
    except errors.LockNotAvailable:
        return False
    return True


_INDEXES = """
select
    pg_class.relname,
    pg_get_indexdef(pg_index.indexrelid)
from pg_catalog.pg_index
inner join pg_catalog.pg_class
    on pg_class.oid = pg_index.indexrelid
inner join pg_catalog.pg_class as filled
    on filled.oid = pg_index.indrelid
where pg_index.indrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))
    and pg_relation_size(filled.oid) = 0
    and pg_has_role(filled.relowner, 'usage')
    and (select count(*) from integration.tenants) = 1
    and pg_index.indisvalid
    and not (pg_index.indisunique or pg_index.indisexclusion)
    and not (pg_index.indisclustered or pg_index.indisreplident)
    and pg_class.reltablespace = 0
    and not exists (
        select
        from pg_catalog.pg_description
        where pg_description.objoid = pg_class.oid
            and pg_description.classoid = 'pg_class'::regclass
    )
order by pg_class.relname asc
"""
