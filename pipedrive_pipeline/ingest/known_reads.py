"""Reads that found nothing new: the source sent the same again, and raw has it as it was written.

Most entities of a quiet tenant answer with the records of the last sync: a list that is read whole,
or the newest record, at whose stamp the next walk begins. After a read is committed its digest is
kept, with one of the rows in raw that it led to: their columns, places and writers (`ctid`,
`xmin`), and their marks of deletion. A read with the same digest is not loaded, noted or compared
if the rows have the same one. All else that writes to raw, drops a column or restores a backup
changes it. Reads of everything that a person or the schedule asked for are always loaded.

The digests are in the tenant's staging schema. Without them the next reads are loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from io import BytesIO

from psycopg import sql
from pyarrow import csv

from pipedrive_pipeline.connectors.contract import Snapshot
from pipedrive_pipeline.ingest.batches import Batch
from pipedrive_pipeline.ingest.own_tables import OwnTable
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

TABLE = OwnTable(
    "staging",
    "known_reads",
    """
create table {table} (
    entity text primary key,
    read text not null,
    raw text not null
);
comment on table {table} is 'Digests of the last reads, so that the same again is not loaded.';
""",
)


class KnownReads:
    """The last read of each entity of one tenant and system."""

    def __init__(self, warehouse: Warehouse, scope: Scope) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._table = TABLE.of(scope)
        self._stored: dict[str, tuple[str, str]] | None = None  # of the read and of raw, by entity

    def unchanged(self, batches: Sequence[Batch]) -> set[str]:
        """The names of the entities whose read raw holds already, as it is.

        Args:
            batches: all that a walk read, of each entity once.
        """
        known = self._known()
        same = [
            batch
            for batch in batches
            if batch.entity.name in known and known[batch.entity.name][0] == _digest(batch)
        ]
        now = self._states_of_raw(same)
        return {name for name, state in now.items() if state == known[name][1]}

    def remember(self, batches: Sequence[Batch]) -> None:
        """Keeps the digests of reads that are committed, and of the rows that they led to."""
        states = self._states_of_raw(batches)
        digests = {batch.entity.name: _digest(batch) for batch in batches}
        if not states:
            return
        with self._warehouse.transaction() as connection:
            columns = {
                "names": list(states),
                "digests": [digests[name] for name in states],
                "states": list(states.values()),
            }
            connection.execute(sql.SQL(_REMEMBER).format(table=self._table), columns)
        self._known().update({name: (digests[name], state) for name, state in states.items()})

    def _known(self) -> dict[str, tuple[str, str]]:
        if self._stored is None:
            query = sql.SQL("select entity, read, raw from {}").format(self._table)
            with self._warehouse.transaction() as connection:
                rows = connection.execute(query).fetchall()
            self._stored = {name: (read, raw) for name, read, raw in rows}
        return self._stored

    def _states_of_raw(self, batches: Sequence[Batch]) -> Mapping[str, str]:
        """A digest of the rows with each batch's keys, by entity; none where there is no table."""
        if not batches:
            return {}
        with self._warehouse.transaction() as connection:
            schemas = [self._scope.raw_schema, self._scope.staging_schema]
            columns: dict[str, str] = dict(connection.execute(_COLUMNS, [schemas]).fetchall())
            known = [batch for batch in batches if batch.entity.name in columns]
            if not known or "deletions" not in columns:
                return {}
            query = sql.SQL(" union all ").join(self._state_of_raw(batch) for batch in known)
            states: dict[str, str] = dict(connection.execute(query).fetchall())
        return {name: f"{columns[name]} {state}" for name, state in states.items()}

    def _state_of_raw(self, batch: Batch) -> sql.Composed:
        entity = batch.entity
        # A list that leaves a row out says that it is gone, so that every row counts.
        is_whole = isinstance(entity.read, Snapshot)
        every = sql.SQL("true")
        listed = sql.SQL("{column} = any(array(select jsonb_array_elements_text({keys})::{type}))")
        keys = sql.Literal(batch.json_texts(entity.key.name))
        is_row = listed.format(
            column=sql.Identifier(entity.key.name), keys=keys, type=sql.SQL(entity.key.type.value)
        )
        is_mark = listed.format(column=sql.Identifier("id"), keys=keys, type=sql.SQL("text"))
        return sql.SQL(_STATE).format(
            name=sql.Literal(entity.name),
            raw=sql.Identifier(self._scope.raw_schema, entity.name),
            deletions=sql.Identifier(self._scope.raw_schema, "deletions"),
            is_row=every if is_whole else is_row,
            is_mark=every if is_whole else is_mark,
        )


def may_be_kept(batch: Batch, children_due_by: Collection[str | None]) -> bool:
    """True if nothing of a read has to be done again when the source sends the same.

    Args:
        batch: all that a walk read.
        children_due_by: for each entity that is read as lists of this one's records, the column
            that says whether a list changed; None reads every list again.
    """
    is_clean = not (batch.rejected_records or batch.rejected_values or batch.withheld)
    return is_clean and None not in children_due_by


def _digest(batch: Batch) -> str:
    """A digest of a read's rows as they are loaded, and of the columns that they have."""
    rows = BytesIO()
    csv.write_csv(batch.rows, rows)
    declared = repr((batch.entity.key, batch.entity.columns, batch.entity.history))
    return hashlib.sha256(declared.encode() + rows.getbuffer()).hexdigest()


_REMEMBER = """
insert into {table} (entity, read, raw)
select given.entity, given.read, given.raw
from unnest(%(names)s::text[], %(digests)s::text[], %(states)s::text[]) as given (entity, read, raw)
on conflict (entity) do update set read = excluded.read, raw = excluded.raw
"""

# Of raw and of staging, where a dropped column is made again with the next load.
_COLUMNS = """
select
    tables.relname,
    md5(string_agg(
        format('%%s %%s %%s', tables.relnamespace, columns.attname, columns.atttypid),
        ',' order by tables.relnamespace, columns.attnum
    ))
from pg_catalog.pg_class as tables
inner join pg_catalog.pg_attribute as columns
    on columns.attrelid = tables.oid
    and columns.attnum > 0
    and not columns.attisdropped
where tables.relkind = 'r'
    and tables.relnamespace in (
        select to_regnamespace(named.schema)
        from unnest(%s::text[]) as named (schema)
    )
group by tables.relname
"""

_STATE = """
select
    {name},
    (
        select format('%s %s', count(*), sum(hashtextextended(ctid::text || xmin::text, 0)))
        from {raw}
        where {is_row}
    ) || ', ' || (
        select format('%s %s', count(*), sum(hashtextextended(ctid::text || xmin::text, 0)))
        from {deletions}
        where entity = {name} and {is_mark}
    )
"""
