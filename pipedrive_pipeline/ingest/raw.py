"""One tenant's raw tables: what is stored, and the loads that add to it.

A load is one dlt package: the new cursors are part of it, and count only when it is done
(https://dlthub.com/docs/general-usage/state). The working directory is new for every run: a kept
one wedges a pipeline at 20 of 106 crash points, a fresh one at none.

Rows are merged, by way of staging. Only where a run found a table empty, rows that it does not hold
are appended: the first load of a table is most of a full read, and the detour was 6 of 15 seconds
of Postgres's work in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dlt
from dlt.common.exceptions import DltException
from dlt.pipeline.exceptions import PipelineStepFailed
from psycopg import sql

from pipedrive_pipeline.connectors.contract import ColumnType, CursorState, Entity
from pipedrive_pipeline.errors import (
    DatabaseUnavailable,
    DiskFull,
    Permanent,
    Superseded,
    full_disk,
)
from pipedrive_pipeline.ingest.batches import Batch
from pipedrive_pipeline.ingest.dlt_internals.copy_file import LOAD_ID
from pipedrive_pipeline.ingest.dlt_internals.destination import Sessions, heal_staging, pipeline
from pipedrive_pipeline.ingest.dlt_internals.resources import resource_of, source_of
from pipedrive_pipeline.ingest.erasure import ErasedRecords
from pipedrive_pipeline.ingest.history import Histories
from pipedrive_pipeline.ingest.outcome import Loaded, ReadPlan
from pipedrive_pipeline.ingest.rejections import Rejections
from pipedrive_pipeline.ingest.versions import LoadedVersions
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import is_there
from pipedrive_pipeline.warehouse.database import Warehouse


class LoadRefused(Permanent):
    """Postgres refused a load for its content or its rights. Nothing of it counts."""

    code = "load_refused"


class RawStore:
    """The raw tables of one tenant and system, open for loads. One at a time per tenant."""

    def __init__(self, warehouse: Warehouse, scope: Scope, working_directory: Path) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._schema = scope.raw_schema
        self._working_directory = working_directory
        self.rejections = Rejections(warehouse, scope)
        self._erased = ErasedRecords(warehouse, scope)
        self._histories = Histories(warehouse, scope)
        self._loaded = LoadedVersions()
        self._indexed: set[str] = set()
        self._found_empty: dict[str, bool] = {}  # when its first rows came, by entity
        self._sessions = Sessions()
        self._pipeline = self._restored()

    def close(self) -> None:
        """Closes the connections that loads left open for the next one."""
        self._sessions.close()

    @property
    def cursors(self) -> dict[str, CursorState]:
        """Each entity's cursor as last committed, by entity name."""
        sources = self._pipeline.state.get("sources", {})
        return dict(sources.get(self._scope.system, {}).get("cursors", {}))

    @property
    def plans(self) -> dict[str, ReadPlan]:
        """Each unfinished read of everything as last committed, by entity name."""
        sources = self._pipeline.state.get("sources", {})
        states = sources.get(self._scope.system, {}).get("plans", {})
        return {name: ReadPlan.of_state(state) for name, state in states.items() if state}

    def load(
        self,
        batches: Sequence[Batch],
        cursors: Mapping[str, CursorState],
        plans: Mapping[str, ReadPlan | None],
        *,
        before_rows: Callable[[], None] = lambda: None,
    ) -> dict[str, Loaded]:
        """Commits the batches' rows with cursors and plans; returns each entity's row counts.

        Args:
            batches: one for each entity that has rows, a cursor or a plan; it may be empty. What
                was erased here is taken out of it.
            cursors: of walks that these rows end.
            plans: where reads of everything may go on; None for one that is finished.
            before_rows: called before any row is in raw; the load waits until it returns.

        Raises:
            DatabaseUnavailable: Postgres went away; the rows may be there, the cursors are not.
            DiskFull: Postgres's disk is full, or that of the working directory.
            LoadRefused: Postgres refuses a value or a right; an operator must look.
            Superseded: another run of this tenant has begun; neither rows nor cursors moved.
        """
        for batch in batches:
            self._histories.prepare(batch.entity)
        back = {batch.entity.name: self._erased.withhold(batch) for batch in batches}
        stored = {batch.entity.name: self._stored_keys(batch) for batch in batches}
        newest = [
            replace(batch, table=self._loaded.without_older(batch.entity, batch.table))
            for batch in batches
        ]
        new = {
            batch.entity.name for batch in batches if self._is_new(batch, stored[batch.entity.name])
        }

        def before_any_row() -> None:
            before_rows()
            for batch in newest:
                self.rejections.note(batch)

        load_id = self._run(newest, new, cursors, plans, before_any_row)
        for batch in newest:
            self._loaded.add(batch.entity, batch.table)
        for entity, keys in back.items():
            self._erased.let_back(entity, keys)
        return {
            batch.entity.name: self._counted(batch, stored[batch.entity.name], load_id)
            for batch in batches
        }

    def note_known(self, batch: Batch) -> None:
        """Takes rows that raw holds already for loaded, so that no older answer replaces them."""
        self._loaded.add(batch.entity, batch.table)

    def _restored(self) -> dlt.Pipeline:
        shutil.rmtree(self._working_directory, ignore_errors=True)
        self._working_directory.mkdir(parents=True)
        restored = pipeline(
            self._scope.pipeline_name,
            dataset=self._schema,
            staging=self._scope.staging_schema,
            url=self._warehouse.full_url(),
            working_directory=self._working_directory,
            fence=self._warehouse.fence,
            idle=self._sessions,
        )
        with self._named_failures("reading the state of"):
            heal_staging(self._warehouse, self._scope)
            restored.sync_destination()
        return restored

    def _run(
        self,
        batches: list[Batch],
        new: Collection[str],
        cursors: Mapping[str, CursorState],
        plans: Mapping[str, ReadPlan | None],
        before_rows: Callable[[], None],
    ) -> str:
        names = ", ".join(batch.entity.name for batch in batches)
        try:
            with self._named_failures(f"loading {names} into"):
                self._extract(batches, new, cursors, plans)
                (load_id,) = self._pipeline.list_extracted_load_packages()
                if any(batch.table.num_rows for batch in batches):
                    self._announce(load_id)
                self._pipeline.normalize()
                before_rows()
                self._pipeline.load().raise_on_failed_jobs()
        except (DatabaseUnavailable, DiskFull, LoadRefused):
            self._pipeline = self._restored()  # its local state ran ahead of the database's
            raise
        self._index(batches)
        return load_id

    def _extract(
        self,
        batches: list[Batch],
        new: Collection[str],
        cursors: Mapping[str, CursorState],
        plans: Mapping[str, ReadPlan | None],
    ) -> None:
        """Makes a package of the batches, their cursors and plans."""
        with TemporaryDirectory(dir=self._working_directory) as directory:
            resources = [
                resource_of(batch, cursors, plans, Path(directory), is_new=batch.entity.name in new)
                for batch in batches
            ]
            self._pipeline.extract(source_of(self._scope.system, resources))

    def _announce(self, load_id: str) -> None:
        """Announces a load to the marts before its first row is in raw; no crash hides it."""
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            connection.execute(
                "insert into integration.mart_state as state (tenant_id, system, pending_loads)"
                " values (%s, %s, array[%s]) on conflict (tenant_id, system) do update"
                " set pending_loads = state.pending_loads || excluded.pending_loads",
                [self._scope.tenant.slug, self._scope.system, load_id],
            )

    def _stored_keys(self, batch: Batch) -> set[Any]:
        """Those of the batch's keys that are in raw."""
        entity = batch.entity
        if not batch.table.num_rows or not self._exists(entity):
            return set()
        query = sql.SQL(
            "select {key} from {table} where {key} = any(array("
            "select jsonb_array_elements_text(%s)::{type}))"
        ).format(
            key=sql.Identifier(entity.key.name),
            table=self._table(entity.name),
            type=sql.SQL("bigint" if entity.key.type is ColumnType.BIGINT else "text"),
        )
        with self._warehouse.transaction() as connection:
            rows = connection.execute(query, [batch.json_texts(entity.key.name)])
            return {row[0] for row in rows}

    def _counted(self, read: Batch, stored: Collection[Any], load_id: str) -> Loaded:
        if not read.table.num_rows:
            return Loaded(0, 0, 0)
        query = sql.SQL("select count(*) from {table} where {id} = %s").format(
            table=self._table(read.entity.name), id=sql.Identifier(LOAD_ID)
        )
        with self._warehouse.transaction() as connection:
            row = connection.execute(query, [load_id]).fetchone()
        written = row[0] if row else 0
        keys = read.table[read.entity.key.name].to_pylist()
        created = sum(1 for key in keys if key not in stored)
        return Loaded(created, written - created, read.table.num_rows - written)

    def _is_new(self, batch: Batch, stored: Collection[Any]) -> bool:
        """True if none of the rows is in raw and the table was empty when this run first looked.

        The answer is fixed for the run: the way of loading is part of dlt's schema, and dlt stores
        a new schema version permanently whenever it changes.
        """
        name = batch.entity.name
        if not batch.table.num_rows:
            return False
        if name not in self._found_empty:
            self._found_empty[name] = not stored and self._is_empty(batch.entity)
        return self._found_empty[name] and not stored

    def _is_empty(self, entity: Entity) -> bool:
        if not self._exists(entity):
            return True
        query = sql.SQL("select exists (select from {})").format(self._table(entity.name))
        with self._warehouse.transaction() as connection:
            row = connection.execute(query).fetchone()
        return not (row and row[0])

    def _exists(self, entity: Entity) -> bool:
        with self._warehouse.transaction() as connection:
            return is_there(connection, self._schema, entity.name)

    def _index(self, batches: list[Batch]) -> None:
        """Lets the marts find the rows of a load without reading the table."""
        for name in {batch.entity.name for batch in batches} - self._indexed:
            with self._warehouse.transaction() as connection:
                connection.execute(
                    sql.SQL("create index if not exists {index} on {table} ({load_id})").format(
                        index=sql.Identifier(f"{name}_load_id"),
                        table=self._table(name),
                        load_id=sql.Identifier(LOAD_ID),
                    )
                )
            self._indexed.add(name)

    def _table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._schema, name)

    @contextmanager
    def _named_failures(self, act: str) -> Iterator[None]:
        try:
            yield
        except (DltException, OSError) as failure:
            if self._is_superseded():
                raise Superseded(self._scope.tenant.slug) from None
            if disk := full_disk(failure):
                raise disk from None
            if not isinstance(failure, PipelineStepFailed):
                raise
            state, is_outage = _cause(failure)
            kind = DatabaseUnavailable if is_outage else LoadRefused
            # The chain is cut here: Postgres quotes the row that it refuses.
            raise kind(
                f"{self._scope.tenant}: {act} {self._schema} failed ({state}); "
                "what was committed before stays, the next run goes on from there."
            ) from None

    def _is_superseded(self) -> bool:
        try:
            with self._warehouse.transaction():
                return False
        except Superseded:
            return True


def _cause(failure: PipelineStepFailed) -> tuple[str, bool]:
    """A word on the deepest known cause that holds no data, and whether Postgres was away."""
    import psycopg2

    error: BaseException | None = failure
    while error is not None:
        if isinstance(error, psycopg2.Error):
            is_outage = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
            return f"SQLSTATE {error.pgcode or 'none'}", is_outage
        error = error.__cause__ or error.__context__
    return type(failure.exception).__name__, False
