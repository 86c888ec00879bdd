"""How far a read of everything is, and the results of a read, in numbers.

Imports neither dlt nor Arrow, so that a command line may import it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from pipedrive_pipeline.connectors.contract import CursorState, Entity, Record, Resume, Tombstone
from pipedrive_pipeline.connectors.refusals import SourceRefused
from pipedrive_pipeline.errors import (
    GuardTripped,
    IncompleteRead,
    Permanent,
    PipelineError,
    ScopeMissing,
    SourceBroke,
)

REFUSALS = (ScopeMissing, SourceRefused)  # a right, a plan or an address that is not there
# Others may be read and built without it.
OF_ONE_ENTITY = (*REFUSALS, SourceBroke, IncompleteRead, GuardTripped)


class LoadRefused(Permanent):
    """Postgres refused a load for its content or its rights. Nothing of it counts."""

    code = "load_refused"


@dataclass(frozen=True)
class Rejected:
    """A record or value that raw cannot hold in its place. ``value`` is JSON text."""

    record_id: str | None
    field: str | None
    value: str
    reason: str


@dataclass(frozen=True)
class Loaded:
    """What one load did to one raw table, in rows."""

    created: int
    updated: int
    unchanged: int  # equal to the stored version, or older than one that this run loaded


@dataclass(frozen=True)
class Refreshed:
    """The result of reading given ids again."""

    created: int
    updated: int
    unchanged: int  # equal to the stored version
    restored: int  # no longer marked as deleted
    absent: tuple[str, ...]  # the source gives no such record; none of them is marked as deleted
    is_signalled: bool = False  # another run reads the tenant; it reads these at its next chunk


@dataclass(frozen=True)
class Event:
    """What one event tells of one record."""

    id: str  # of the record
    received_at: datetime
    happened_at: datetime | None = None
    tombstone: Tombstone | None = None
    version: Record | None = None  # by column
    actor_id: str | None = None


def watermark(state: CursorState | None) -> str | None:
    """A cursor as people read it: its watermark, else all of it; None for no cursor."""
    if not state:
        return None
    values = [state["watermark"]] if "watermark" in state else list(state.values())
    return str(values[0]) if len(values) == 1 else json.dumps(dict(state), sort_keys=True)


@dataclass
class EntityRead:
    """The result of reading one entity. ``is_complete`` when its walk is committed whole."""

    entity: Entity
    cursor_before: CursorState | None
    cursor_after: CursorState | None = None
    is_complete: bool = False
    pages: int = 0
    fetched: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    restored: int = 0  # marks of deletion taken back
    missing: int | None = None  # proof after a read of everything: seen, and not in raw
    extra: int | None = None  # in raw, no longer listed, and yet not gone
    stale: int | None = None  # in raw in another version than the one seen
    began_at: datetime | None = None  # by our clock; of a plan that goes on, its first run
    swept_at: datetime | None = None  # records that were gone by then are marked as gone
    resumed_rows: int = 0  # read by earlier runs of the same plan
    rejected: int = 0  # records without a usable key, which raw cannot hold
    rejected_values: int = 0  # values that did not fit their columns
    withheld: int = 0  # erased here, and not edited at the source since
    replaced: int = 0  # characters and numbers made storable
    api_calls: int = 0
    tokens: int = 0
    undeclared: Counter[str] = field(default_factory=Counter)
    error: PipelineError | None = None

    @property
    def is_isolated_failure(self) -> bool:
        """True if it failed for a reason of its own: its rows are right, if old or not all."""
        return isinstance(self.error, OF_ONE_ENTITY)

    @property
    def is_set_aside(self) -> bool:
        """True if the source refused it and the system's declaration does not require it.

        Such a read is skipped, not failed: its old rows stay, and ``error`` says why.
        """
        return not self.entity.is_required and isinstance(self.error, REFUSALS)

    def add(self, loaded: Loaded) -> None:
        """Counts what one load did."""
        self.created += loaded.created
        self.updated += loaded.updated
        self.unchanged += loaded.unchanged


GOES_ON_WITHIN = timedelta(days=1)  # of its last run; a backfill may take several days' budgets
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class ReadPlan:
    """One unfinished read of everything, of one entity."""

    began_at: datetime  # when its first run began, by our clock: later deletions may be missed
    last_run_at: datetime  # by our clock; only its age matters
    resume: Resume
    rows: int  # read so far, in all its runs; again where a window of the list began again

    def may_go_on(self, now: datetime) -> bool:
        """True if it is young enough to be continued, and says where."""
        is_young = timedelta(0) <= now - self.last_run_at < GOES_ON_WITHIN
        return is_young and bool(self.resume.windows)

    def as_state(self) -> dict[str, Any]:
        """As JSON, as it is stored."""
        return {
            "began_at": self.began_at.isoformat(),
            "last_run_at": self.last_run_at.isoformat(),
            "resume": asdict(self.resume),
            "rows": self.rows,
        }

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> ReadPlan:
        """As stored; a plan of another release becomes one that may not go on."""
        try:
            return msgspec.convert(state, cls)
        except msgspec.ValidationError:
            return cls(LONG_AGO, LONG_AGO, Resume((), {}), 0)
