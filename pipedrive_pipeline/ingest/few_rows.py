"""Merges a few rows into raw in one transaction, without a dlt package.

A record that is read again for a signal or a write is one row. As a dlt package it took 0.65 s of
processor time: dlt reads its schema from the destination, writes files and goes by way of staging.
This leaves the same behind: rows, history, and the load in `_dlt_loads`. Only dlt makes tables and
columns: where raw is not as declared, the rows are left to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
import pyarrow as pa
from psycopg import sql

from pipedrive_pipeline.connectors.contract import ColumnType, Entity
from pipedrive_pipeline.ingest.batches import EXTRA, Batch
from pipedrive_pipeline.ingest.deletions import ANNOUNCE
from pipedrive_pipeline.ingest.history import LOAD_ID, appending, history_columns
from pipedrive_pipeline.ingest.outcome import LoadRefused
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

ROWS_MAX: Final = 500  # as many records as are read by their ids in one turn


@dataclass(frozen=True)
class FewRows:
    """Merges rows into the raw tables of one tenant and system."""

    warehouse: Warehouse
    scope: Scope

    def fit(self, batches: Sequence[Batch]) -> bool:
        """True if these are few rows, and dlt has made their tables exactly as they are declared.

        A column that is declared no more has to be emptied by dlt, which still knows it.
        """
        if not 0 < sum(batch.table.num_rows for batch in batches) <= ROWS_MAX:
            return False
        tables = [*_DLT_TABLES, *(batch.entity.name for batch in batches)]
        with self.warehouse.transaction() as connection:
            rows = connection.execute(_COLUMNS, [self.scope.raw_schema, tables]).fetchall()
        present: dict[str, dict[str, str]] = {}
        for table, column, kind in rows:
            present.setdefault(table, {})[column] = kind
        return present.keys() >= _DLT_TABLES and all(
            present.get(batch.entity.name) == _declared(batch.entity) for batch in batches
        )

    def merge(self, batches: Sequence[Batch]) -> str | None:
        """Commits the rows of batches that `fit`, announced to the marts; returns the load's id.

        Rows that raw has already are no load: None, and the marts have nothing to do.

        Raises:
            DatabaseUnavailable: Postgres went away; the rows may be there.
            DiskFull: Postgres's disk is full.
            LoadRefused: Postgres refuses a value or a right; an operator must look.
            Superseded: another run of this tenant has begun; no rows were written.
        """
        tenant, schema = self.scope.tenant, self.scope.raw_schema
        names = ", ".join(batch.entity.name for batch in batches)
        with (
            _refusals_named(f"{tenant}: merging {names} into {schema}"),
            self.warehouse.transaction(tenant=tenant) as connection,
        ):
            load_id = str(connection.execute(_NEW_ID).fetchall()[0][0])
            if not sum([self._merge(connection, batch, load_id) for batch in batches]):
                return None
            connection.execute(ANNOUNCE, [tenant.slug, self.scope.system, [load_id]])
            self._note(connection, load_id)
        return load_id

    def _note(self, connection: psycopg.Connection, load_id: str) -> None:
        """Notes the load as dlt notes one that is complete."""
        note = sql.SQL(_NOTE).format(
            loads=sql.Identifier(self.scope.raw_schema, "_dlt_loads"),
            versions=sql.Identifier(self.scope.raw_schema, "_dlt_version"),
        )
        connection.execute(note, [load_id])

    def _merge(self, connection: psycopg.Connection, batch: Batch, load_id: str) -> int:
        """Merges the rows of one entity; returns how many were written."""
        entity, rows = batch.entity, batch.rows
        kinds = _declared(entity)
        columns = [name for name in rows.column_names if name in kinds]

        def listed(prefix: str = "", names: Sequence[str] = columns) -> sql.Composed:
            return sql.SQL(", ").join(
                sql.Identifier(*([prefix] if prefix else []), name) for name in names
            )

        statement = sql.SQL(_MERGE).format(
            raw=sql.Identifier(self.scope.raw_schema, entity.name),
            key=sql.Identifier(entity.key.name),
            columns=listed(),
            typed=sql.SQL(", ").join(
                sql.SQL("{}::{}").format(sql.Identifier(name), sql.SQL(kinds[name]))
                for name in columns
            ),
            texts=sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(columns)),
            raw_columns=listed("raw"),
            given_columns=listed("given"),
            assignments=sql.SQL(", ").join(
                sql.SQL("{0} = given.{0}").format(sql.Identifier(name)) for name in columns
            ),
            load_id=sql.Literal(load_id),
        )
        texts = [rows[name].cast(pa.string()).to_pylist() for name in columns]
        written = connection.execute(statement, texts).rowcount
        if entity.history:
            schema = self.scope.raw_schema
            source = (schema, entity.name)
            names = history_columns(entity)
            append = appending(names, raw_schema=schema, source=source, load_id=load_id)
            connection.execute(append.encode())
        return written


def _declared(entity: Entity) -> dict[str, str]:
    """The columns of an entity's raw table, with their types as dlt makes them."""
    return {
        **{column.name: COLUMN_TYPES[column.type] for column in (entity.key, *entity.columns)},
        EXTRA: COLUMN_TYPES[ColumnType.JSON],
        LOAD_ID: COLUMN_TYPES[ColumnType.TEXT],
    }


@contextmanager
def _refusals_named(act: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:  # transient ones have another class by now
        # The chain is cut here: Postgres quotes the row that it refuses.
        raise LoadRefused(
            f"{act} failed (SQLSTATE {error.sqlstate or 'none'}); "
            "what was committed before stays. docs/runbook.md#load_refused has the next step."
        ) from None


COLUMN_TYPES: Final = {  # of Postgres, as dlt makes them
    ColumnType.BIGINT: "bigint",
    ColumnType.NUMERIC: "numeric",
    ColumnType.TEXT: "character varying",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TIMESTAMP: "timestamp with time zone",
    ColumnType.JSON: "jsonb",
}
_DLT_TABLES: Final = {"_dlt_loads", "_dlt_version"}

_COLUMNS: Final = """
select
    pg_class.relname,
    pg_attribute.attname,
    format_type(pg_attribute.atttypid, null)
from pg_catalog.pg_class
inner join pg_catalog.pg_attribute
    on pg_attribute.attrelid = pg_class.oid
    and pg_attribute.attnum > 0
    and not pg_attribute.attisdropped
where pg_class.relnamespace = to_regnamespace(quote_ident(%s))
    and pg_class.relname = any(%s)
    and pg_class.relkind = 'r'
"""

_NEW_ID: Final = "select extract(epoch from clock_timestamp())::text"

_NOTE: Final = """
insert into {loads} (load_id, schema_name, status, inserted_at, schema_version_hash)
select %s, max(newest.schema_name), 0, now(), max(newest.version_hash)
from (
    select
        versions.schema_name,
        versions.version_hash
    from {versions} as versions
    order by versions.inserted_at desc
    limit 1
) as newest
"""

# As dlt merges staging into raw, without rows that are the same.
_MERGE: Final = """
merge into {raw} as raw
using (
    select {typed}
    from unnest({texts}) as given ({columns})
) as given
    on raw.{key} = given.{key}
when matched and ({raw_columns}) is distinct from ({given_columns})
    then update set {assignments}, _dlt_load_id = {load_id}
when not matched
    then insert ({columns}, _dlt_load_id) values ({given_columns}, {load_id})
"""
