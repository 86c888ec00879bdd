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
from typing import Final

import dlt
import psycopg2
from dlt.common.exceptions import DltException
from dlt.pipeline.exceptions import PipelineStepFailed

from pipedrive_pipeline.errors import (
    DatabaseUnavailable,
    DiskFull,
    Superseded,
    first_line,
    full_disk,
)
from pipedrive_pipeline.ingest.batches import Batch
from pipedrive_pipeline.ingest.dlt_internals.destination import Sessions, heal_staging, pipeline
from pipedrive_pipeline.ingest.dlt_internals.resources import resource_of, source_of
from pipedrive_pipeline.ingest.outcome import LoadRefused
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

SQLSTATE: Final = "SQLSTATE"
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
        self._sessions = Sessions()
        self._pipeline = self._restored()

    def close(self) -> None:
        """Closes the connections that loads left open for the next one."""
        self._sessions.close()

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
            idle=self._sessions,
        )
        with self._named_failures("reading the state of"):
            heal_staging(self._warehouse, self._scope, self._own_tables)
            restored.sync_destination()
        return restored

    def _extract(self, batches: Sequence[Batch], new: Collection[str]) -> None:
        """Makes a package of the batches."""
        with TemporaryDirectory(dir=self._working_directory) as directory:
            resources = [
                resource_of(batch, Path(directory), is_new=batch.entity.name in new)
                for batch in batches
            ]
            self._pipeline.extract(source_of(self._scope.system, resources))

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
