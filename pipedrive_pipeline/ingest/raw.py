"""One tenant's raw tables: what is stored, and the loads that add to it.

A load commits rows; the positions that count them as read move afterwards (`read_positions.py`).

Rows are merged, by way of staging. Only where a run found a table empty, rows that it does not hold
are appended: the first load of a table is most of a full read, and the detour was 6 of 15 seconds
of Postgres's work in it. Single records are merged without dlt (`few_rows.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Children, CursorState, Entity
from pipedrive_pipeline.ingest import deletions, due_parents, known_reads, read_positions, seen_keys
from pipedrive_pipeline.ingest.batches import Batch
from pipedrive_pipeline.ingest.dropped_columns import restore_raw
from pipedrive_pipeline.ingest.erasure import ErasedRecords
from pipedrive_pipeline.ingest.few_rows import FewRows
from pipedrive_pipeline.ingest.history import LOAD_ID, Histories
from pipedrive_pipeline.ingest.outcome import Loaded, ReadPlan
from pipedrive_pipeline.ingest.own_tables import OwnTable, prepare
from pipedrive_pipeline.ingest.read_positions import ReadPositions
from pipedrive_pipeline.ingest.rejections import Rejections
from pipedrive_pipeline.ingest.versions import LoadedVersions
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

if TYPE_CHECKING:  # dlt takes a second to import, and a quiet sync loads nothing
    from pipedrive_pipeline.ingest.dlt_internals.packages import Packages

OWN_TABLES: Final[tuple[OwnTable, ...]] = (
    deletions.TABLE,
    read_positions.TABLE,
    seen_keys.READS,
    seen_keys.KEYS,
    due_parents.TABLE,
    known_reads.TABLE,
)


class RawStore:
    """The raw tables of one tenant and system, open for loads. One at a time per tenant."""

    def __init__(self, warehouse: Warehouse, scope: Scope, working_directory: Path) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._schema = scope.raw_schema
        self._working_directory = working_directory
        prepare(warehouse, scope, OWN_TABLES)
        entities = registry.system(scope.system).entities
        self._tables = {*restore_raw(warehouse, scope, entities)}
        self._positions = ReadPositions(warehouse, scope)
        self.rejections = Rejections(warehouse, scope)
        self._erased = ErasedRecords(warehouse, scope)
        self._histories = Histories(warehouse, scope)
        self._few_rows = FewRows(warehouse, scope)
        self._loaded = LoadedVersions()
        self._indexed: set[str] = set()
        self._found_empty: dict[str, bool] = {}  # when its first rows came, by entity
        self._opened: Packages | None = None

    def close(self) -> None:
        """Closes the connections that loads left open for the next one."""
        if self._opened:
            self._opened.close()

    @property
    def cursors(self) -> Mapping[str, CursorState]:
        """Each entity's cursor as last committed, by entity name."""
        return self._positions.cursors

    @property
    def plans(self) -> Mapping[str, ReadPlan]:
        """Each unfinished read of everything as last committed, by entity name."""
        return self._positions.plans

    def load(
        self,
        batches: Sequence[Batch],
        *,
        before_rows: Callable[[], None] = lambda: None,
        is_of_few: bool = False,
    ) -> dict[str, Loaded]:
        """Commits the batches' rows; returns each entity's row counts.

        Args:
            batches: one for each entity that was read; the table of one without rows is made all
                the same. What was erased here is taken out of it.
            before_rows: called before any row is in raw; the load waits until it returns.
            is_of_few: single records, which need no package of dlt's where their tables are there.

        Raises:
            DatabaseUnavailable: Postgres went away; the rows may be there.
            DiskFull: Postgres's disk is full, or that of the working directory.
            LoadRefused: Postgres refuses a value or a right; an operator must look.
            Superseded: another run of this tenant has begun; no rows were written.
        """
        for batch in batches:
            self._histories.prepare(batch.entity)
        back = {batch.entity.name: self._erased.withhold(batch) for batch in batches}
        stored = self._stored(batches)
        newest = [
            replace(batch, table=self._loaded.without_older(batch.entity, batch.table))
            for batch in batches
        ]

        def before_any_row() -> None:
            before_rows()
            self.rejections.note(newest)

        if is_of_few and self._few_rows.fit(newest):
            before_any_row()
            load_id = self._few_rows.merge(newest)
        else:
            load_id = self._load_rows(newest, self._new(stored), before_any_row)
        for batch in newest:
            self._loaded.add(batch.entity, batch.table)
        for entity, keys in back.items():
            self._erased.let_back(entity, keys)
        written = self._written(batches, load_id)
        return {
            batch.entity.name: _counted(
                batch,
                stored.get(batch.entity.name, NOTHING_STORED),
                written.get(batch.entity.name, 0),
            )
            for batch in batches
        }

    def move(
        self, cursors: Mapping[str, CursorState], plans: Mapping[str, ReadPlan | None]
    ) -> None:
        """Commits where the next reads begin, once all that they count as read is committed.

        Args:
            cursors: of walks that ended, by entity.
            plans: where reads of everything may go on, by entity; None for one that is finished.

        Raises:
            Superseded: another run of this tenant has begun; nothing moved.
        """
        self._positions.save(cursors, plans)

    def note_known(self, batch: Batch) -> None:
        """Takes rows that raw holds already for loaded, so that no older answer replaces them."""
        self._loaded.add(batch.entity, batch.table)

    def keys_read_since(self, entity: Entity, number: int) -> set[str]:
        """The keys of the newest rows whose request was sent after this number was given."""
        return self._loaded.keys_since(entity, number)

    def _load_rows(
        self, batches: Sequence[Batch], new: Collection[str], before_rows: Callable[[], None]
    ) -> str | None:
        """Commits rows and makes missing tables; the load's id, None if there is nothing to do."""
        loaded = [
            batch
            for batch in batches
            if batch.table.num_rows or batch.entity.name not in self._tables
        ]
        if not loaded:
            before_rows()
            return None
        has_rows = any(batch.table.num_rows for batch in loaded)
        load_id = self._packages().load(
            loaded,
            new,
            announce=self._announce if has_rows else lambda _load_id: None,
            before_rows=before_rows,
        )
        self._tables |= {batch.entity.name for batch in loaded}
        self._index(loaded)
        return load_id

    def _packages(self) -> Packages:
        if self._opened is None:
            from pipedrive_pipeline.ingest.dlt_internals.packages import Packages

            own = [table.name for table in OWN_TABLES if table.place == "raw"]
            self._opened = Packages(self._warehouse, self._scope, self._working_directory, own)
        return self._opened

    def _announce(self, load_id: str) -> None:
        """Announces a load to the marts before its first row is in raw; no crash hides it."""
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            connection.execute(
                deletions.ANNOUNCE, [self._scope.tenant.slug, self._scope.system, [load_id]]
            )

    def _stored(self, batches: Sequence[Batch]) -> dict[str, _Stored]:
        """What raw holds of the batches that have rows, by entity."""
        names = [batch.entity.name for batch in batches if batch.table.num_rows]
        counts = self._rows(
            sql.SQL(_STORED).format(
                name=sql.Literal(batch.entity.name),
                table=self._table(batch.entity.name),
                key=sql.Identifier(batch.entity.key.name),
                keys=sql.Literal(batch.json_texts(batch.entity.key.name)),
                type=sql.SQL(batch.entity.key.type.value),
            )
            for batch in batches
            if batch.entity.name in self._tables.intersection(names)
        )
        stored = {name: _Stored(count, is_empty=is_empty) for name, count, is_empty in counts}
        return dict.fromkeys(names, NOTHING_STORED) | stored

    def _written(self, batches: Sequence[Batch], load_id: str | None) -> dict[str, int]:
        """By entity, how many rows of raw a load wrote."""
        if load_id is None:
            return {}
        return dict(
            self._rows(
                sql.SQL(_WRITTEN).format(
                    name=sql.Literal(batch.entity.name),
                    table=self._table(batch.entity.name),
                    load_id=sql.Identifier(LOAD_ID),
                    value=sql.Literal(load_id),
                )
                for batch in batches
                if batch.table.num_rows
            )
        )

    def _new(self, stored: Mapping[str, _Stored]) -> set[str]:
        """The entities of whose rows none is in raw, and whose table was empty at first sight.

        The answer is fixed for the run: the way of loading is part of dlt's schema, and dlt stores
        a new schema version permanently whenever it changes.
        """
        for name, found in stored.items():
            self._found_empty.setdefault(name, found.is_empty)
        return {
            name for name, found in stored.items() if self._found_empty[name] and not found.count
        }

    def _index(self, batches: Sequence[Batch]) -> None:
        """Lets the rows of a load, and the children of a parent, be found without a full scan."""
        new = {
            each.entity.name: each.entity
            for each in batches
            if each.entity.name not in self._indexed
        }
        columns = [(name, LOAD_ID) for name in new]
        columns += [
            (name, entity.read.column)
            for name, entity in new.items()
            if isinstance(entity.read, Children)
        ]
        statements = [
            sql.SQL("create index if not exists {index} on {table} ({column})").format(
                index=sql.Identifier(f"{name}_{column.removeprefix('_dlt_')}"),
                table=self._table(name),
                column=sql.Identifier(column),
            )
            for name, column in columns
        ]
        if statements:
            with self._warehouse.transaction() as connection:
                connection.execute(sql.SQL("; ").join(statements))
            self._indexed |= new.keys()

    def _rows(self, selects: Iterable[sql.Composable]) -> list[tuple[Any, ...]]:
        """The rows of these selects, by one query."""
        listed = [*selects]
        if not listed:
            return []
        with self._warehouse.transaction() as connection:
            return connection.execute(sql.SQL(" union all ").join(listed)).fetchall()

    def _table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._schema, name)


@dataclass(frozen=True)
class _Stored:
    """What raw holds of a batch before it is loaded."""

    count: int  # of its keys
    is_empty: bool  # the whole table


NOTHING_STORED: Final = _Stored(0, is_empty=True)


def _counted(read: Batch, stored: _Stored, written: int) -> Loaded:
    rows = read.table.num_rows
    created = rows - stored.count
    return Loaded(created, written - created, rows - written) if rows else Loaded(0, 0, 0)


_STORED = """
select
    {name},
    (
        select count(*) from {table}
        where {key} = any(array(select jsonb_array_elements_text({keys})::{type}))
    ),
    not exists (select from {table})
"""

_WRITTEN = "select {name}, count(*) from {table} where {load_id} = {value}"
