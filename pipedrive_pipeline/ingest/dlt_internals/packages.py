"""Loads of batches as dlt packages, in a working directory that is new for every run.

A kept directory wedges a pipeline at 20 of 106 crash points, a fresh one at none. What dlt has to
know of earlier loads, its schema, is read from the destination.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import dlt
import psycopg2
from dlt.common.exceptions import DltException
from dlt.common.schema.utils import dlt_load_id_column
from dlt.common.storages.load_package import load_package_state
from dlt.extract import DltResource
from dlt.pipeline.exceptions import PipelineStepFailed

from pipedrive_pipeline.connectors.contract import Column, Entity
from pipedrive_pipeline.errors import (
    DatabaseUnavailable,
    DiskFull,
    Superseded,
    first_line,
    full_disk,
)
from pipedrive_pipeline.ingest.batches import EXTRA, Batch
from pipedrive_pipeline.ingest.dlt_internals.destination import pipeline
from pipedrive_pipeline.ingest.dlt_internals.fenced_client import IdleConnections
from pipedrive_pipeline.ingest.dlt_internals.load_jobs import HISTORY_HINT, write_file
from pipedrive_pipeline.ingest.dropped_columns import restore_staging
from pipedrive_pipeline.ingest.history import LOAD_ID, history_columns
from pipedrive_pipeline.ingest.outcome import LoadRefused
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

SQLSTATE: Final = "SQLSTATE"
LOAD_ID_MEANING = "The load that wrote the row last, named by the time at which it began."
UPSERT: Any = {"disposition": "merge", "strategy": "upsert", "skip_unchanged_rows": True}

_DLT_TYPES: dict[str, dict[str, Any]] = {
    "bigint": {"data_type": "bigint"},
    "numeric": {"data_type": "decimal"},
    "text": {"data_type": "text"},
    "boolean": {"data_type": "bool"},
    "timestamptz": {"data_type": "timestamp", "timezone": True, "precision": 6},
    "jsonb": {"data_type": "json"},
}
DLT_NOTES: Final = ("_dlt_version", "_dlt_pipeline_state")  # dlt makes them again


class Packages:
    """The loads of one run into one tenant's raw tables.

    Args:
        warehouse: the tenant's database.
        scope: the tenant and system.
        working_directory: for dlt's files; it is emptied first.
        own_tables: names of the tables in the raw schema that dlt has no part in.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        scope: Scope,
        working_directory: Path,
        own_tables: Sequence[str],
    ) -> None:
        self._warehouse, self._scope = warehouse, scope
        self._working_directory, self._own_tables = working_directory, own_tables
        self._connections = IdleConnections()
        self._pipeline = self._restored()

    def close(self) -> None:
        """Closes the connections that loads left open for the next one."""
        self._connections.close()

    def load(
        self,
        batches: Sequence[Batch],
        new: Collection[str],
        *,
        announce: Callable[[str], None],
        before_rows: Callable[[], None],
    ) -> str:
        """Commits the rows of batches and returns the load's id.

        Args:
            batches: of each entity one; the table of one without rows is made all the same.
            new: the entities of whose rows none is in raw.
            announce: called with the load's id, before any row is in raw.
            before_rows: called before any row is in raw; the load waits until it returns.

        Raises:
            DatabaseUnavailable: Postgres went away; the rows may be there.
            DiskFull: Postgres's disk is full, or that of the working directory.
            LoadRefused: Postgres refuses a value or a right; an operator must look.
            Superseded: another run of this tenant has begun.
        """
        names = ", ".join(batch.entity.name for batch in batches)
        try:
            with self._named_failures(f"loading {names} into"):
                self._extract(batches, new)
                (load_id,) = self._pipeline.list_extracted_load_packages()
                announce(load_id)
                self._pipeline.normalize()
                before_rows()
                self._pipeline.load().raise_on_failed_jobs()
        except (DatabaseUnavailable, DiskFull, LoadRefused):
            self._pipeline = self._restored()  # its local state ran ahead of the database's
            raise
        return load_id

    def _restored(self) -> dlt.Pipeline:
        shutil.rmtree(self._working_directory, ignore_errors=True)
        self._working_directory.mkdir(parents=True)
        restored = pipeline(
            self._scope.pipeline_name,
            dataset=self._scope.raw_schema,
            staging=self._scope.staging_schema,
            url=self._warehouse.full_url(),
            working_directory=self._working_directory,
            fence=self._warehouse.fence,
            idle=self._connections,
        )
        with self._named_failures("reading the state of"):
            restore_staging(self._warehouse, self._scope, self._own_tables)
            restored.sync_destination()
        return restored

    def _extract(self, batches: Sequence[Batch], new: Collection[str]) -> None:
        """Makes a package of the batches."""
        with TemporaryDirectory(dir=self._working_directory) as directory:
            resources = [
                _resource_of(batch, Path(directory), is_new=batch.entity.name in new)
                for batch in batches
            ]
            self._pipeline.extract(_source_of(self._scope.system, resources))

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
            if isinstance(failure.exception, KeyboardInterrupt):
                raise failure.exception from None  # dlt catches signals, and takes one for a fault
            state, is_outage = _cause(failure)
            kind = DatabaseUnavailable if is_outage else LoadRefused
            # The chain is cut here: Postgres quotes the row that it refuses.
            raise kind(
                f"{self._scope.tenant}: {act} {self._scope.raw_schema} failed ({state}); "
                f"what was committed before stays. {self._next_step(state, is_outage=is_outage)}"
            ) from None

    def _next_step(self, state: str, *, is_outage: bool) -> str:
        if is_outage:
            return "The next run goes on from there."
        if state.startswith(SQLSTATE):
            return "docs/runbook.md#load_refused has the next step."
        notes = ", ".join(f"{self._scope.raw_schema}.{name}" for name in DLT_NOTES)
        return f"If dlt's own tables are damaged, `drop table {notes}` mends it and loses no row."

    def _is_superseded(self) -> bool:
        try:
            with self._warehouse.transaction():
                return False
        except Superseded:
            return True


def _cause(failure: PipelineStepFailed) -> tuple[str, bool]:
    """A word on the deepest known cause that holds no data, and whether Postgres was away."""
    error: BaseException | None = failure
    while error is not None:
        if isinstance(error, psycopg2.Error):
            is_outage = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
            if is_outage and not error.pgcode:  # of the connection, so of no row
                return first_line(error), is_outage
            return f"{SQLSTATE} {error.pgcode or 'none'}", is_outage
        error = error.__cause__ or error.__context__
    return type(failure.exception).__name__, False


def _source_of(system: str, resources: list[DltResource]) -> Any:
    """What is loaded together."""

    @dlt.source(name=system)
    def source() -> list[DltResource]:
        return resources

    return source()


def _resource_of(
    batch: Batch,
    directory: Path,
    *,
    is_new: bool,
) -> DltResource:
    """A batch as dlt reads it.

    Args:
        batch: the rows; where there are none, the table is made all the same.
        directory: for the rows' file, of which dlt takes a link.
        is_new: none of the rows' keys is in raw.
    """
    entity = batch.entity

    def rows() -> Iterator[Any]:
        path = directory / f"{entity.name}.csv"
        write_file(batch.rows, load_package_state()["load_id"], path)
        yield dlt.mark.with_file_import(str(path), "csv", batch.table.num_rows)

    resource: DltResource = dlt.resource(
        rows,
        name=entity.name,
        primary_key=entity.key.name,
        columns=_columns(entity),
        write_disposition="append" if is_new else UPSERT,
        schema_contract={"tables": "evolve", "columns": "evolve", "data_type": "freeze"},
    )
    hints: dict[str, Any] = {"description": entity.description}
    if entity.history:
        hints[HISTORY_HINT] = dict(history_columns(entity))
    resource.apply_hints(additional_table_hints=hints)
    return resource


def _columns(entity: Entity) -> Any:
    key = _hints(entity.key) | {"nullable": False, "unique": True}
    extra = {"data_type": "json", "description": "Keys that are not declared, and misfit values."}
    return {
        entity.key.name: key,
        **{column.name: _hints(column) for column in entity.columns},
        EXTRA: extra,
        LOAD_ID: {**dlt_load_id_column(), "description": LOAD_ID_MEANING},
    }


def _hints(column: Column) -> dict[str, Any]:
    return {"description": column.description, **_DLT_TYPES[column.type.value]}
