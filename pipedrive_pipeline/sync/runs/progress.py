"""Writes how far a running run is to its row, once a second, and ends it if a person asked to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from pipedrive_pipeline.errors import Cancelled
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.history import ending
from pipedrive_pipeline.warehouse.database import Warehouse

INTERVAL_SECONDS = 1.0
SHARE_MIN = 0.05  # before it, the rate of the first pages says little

Phase = Literal["reading", "building"]


@dataclass(frozen=True)
class RowsRead:
    """How far the read of one entity is."""

    rows: int
    expected: int | None  # None if nobody knows how many there are
    is_complete: bool

    @property
    def rows_done(self) -> int:
        """Returns the records that count as read, of those expected."""
        expected = self.expected or 0
        return expected if self.is_complete else min(self.rows, expected)


@dataclass(frozen=True)
class RunProgress:
    """The progress of a running run, as stored."""

    phase: Phase
    stage: str
    pages: int
    rows: int
    seconds: float
    tokens: int
    entities: Mapping[str, RowsRead]

    @classmethod
    def of_stored(cls, facts: Mapping[str, Any]) -> RunProgress:
        """Returns the progress that a run wrote; what an older release did not write is empty."""
        expected = facts.get("expected", {})
        read = facts.get("entities", {})
        return cls(
            phase=facts.get("phase", "reading"),
            stage=facts.get("stage", ""),
            pages=facts.get("pages", 0),
            rows=facts.get("rows", 0),
            seconds=float(facts.get("seconds", 0)),
            tokens=facts.get("tokens", 0),
            entities={
                name: RowsRead(
                    read.get(name, {}).get("rows", 0),
                    expected.get(name),
                    read.get(name, {}).get("is_complete", False),
                )
                for name in {**expected, **read}
            },
        )

    @property
    def share(self) -> float | None:
        """Returns the part of the expected records that is read; None if nobody knows it."""
        expected = sum(entity.expected or 0 for entity in self.entities.values())
        if not expected:
            return None
        return sum(entity.rows_done for entity in self.entities.values()) / expected

    @property
    def seconds_left(self) -> float | None:
        """Returns how long reading will take still, at the rate so far; None if too early."""
        share = self.share
        if share is None or share < SHARE_MIN or self.phase != "reading":
            return None
        return self.seconds * (1 - share) / share


class ProgressWriter:
    """The progress of one run.

    Each method that writes raises `Cancelled` if a person asked to end the run.
    """

    def __init__(
        self, warehouse: Warehouse, scope: Scope, run_id: UUID, *, tokens_spent: Callable[[], int]
    ) -> None:
        self._warehouse, self._scope, self._run_id = warehouse, scope, run_id
        self._tokens_spent = tokens_spent
        self._began = self._written = time.monotonic()
        self._phase: Phase = "reading"
        self._expected: Mapping[str, int] = {}
        self._reads: dict[str, EntityRead] = {}
        self._current: EntityRead | None = None

    def on_reading(self, expected: Mapping[str, int]) -> None:
        """Saves how many records are expected, by entity; an entity of unknown size is absent."""
        self._phase, self._expected = "reading", expected
        self._write()

    def on_page(self, read: EntityRead) -> bool:
        """Saves how far one entity's read is; True if the progress was due to be written."""
        self._current = self._reads[read.entity.name] = read
        if time.monotonic() - self._written < INTERVAL_SECONDS:
            return False
        self._write()
        return True

    def on_building(self) -> None:
        """Saves that everything is read and the tables are built."""
        self._phase = "building"
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        values = {"progress": Jsonb(self._facts()), "id": self._run_id}
        with self._warehouse.transaction(tenant=self._scope.tenant) as connection:
            row = connection.execute(_WRITE, values).fetchone()
        if row and row[0] is not None:
            raise Cancelled(self._scope.tenant.slug, row[1])

    def _facts(self) -> dict[str, Any]:
        current = self._current
        return {
            "phase": self._phase,
            "stage": current.entity.name if current else "",
            "pages": current.pages if current else 0,
            "rows": current.fetched if current else 0,
            "seconds": round(self._written - self._began, 1),
            "entities": {
                name: {
                    "rows": read.resumed_rows + read.fetched,
                    "is_complete": read.is_complete or read.error is not None,
                    # For the history of a run that dies; see `history.settle_dead`.
                    "fetched": read.fetched,
                    "status": ending(read),
                    "code": read.error.code if read.error else None,
                }
                for name, read in self._reads.items()
            },
            "expected": dict(self._expected),
            "tokens": self._tokens_spent(),
        }


_WRITE = """
update integration.runs
set progress = %(progress)s
where id = %(id)s
returning cancel_asked_at, coalesce(cancel_asked_by, 'a person')
"""
