"""One write on its way through the steps: what is known of it, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from pipedrive_pipeline.connectors.refusals import SourceRefused
from pipedrive_pipeline.connectors.writing import Body, Row, WriteField, WriteSpec
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.sync.writes import mart_rows, outbox
from pipedrive_pipeline.sync.writes.entries import WriteEntry
from pipedrive_pipeline.sync.writes.errors import (
    NotWritten,
    RecordGone,
    RecordMoved,
    RefusedBySource,
    WriteError,
)
from pipedrive_pipeline.warehouse.database import Warehouse

CREATED, OK, ACCEPTED = 201, 200, 202
GONE_STATUSES: Final = frozenset({404, 410})
INVALID_STATUSES: Final = frozenset({400, 409, 413, 415, 422})


@dataclass(frozen=True)
class Timing:
    """How long what is waited for; tests pass shorter times."""

    turn_seconds: float = 30.0  # for another write of the tenant
    tables_seconds: float = 30.0  # for another run to bring a record in
    # Until a create that was not found counts as not done: a call is given up after 60 s, and the
    # source may still be working on it.
    settle: timedelta = timedelta(minutes=3)
    skew: timedelta = timedelta(minutes=2)  # between the source's clock and the database's


TIMING: Final = Timing()


@dataclass(frozen=True)
class WriteOutcome:
    """What became of a write."""

    entry: WriteEntry
    status: int  # as HTTP has it; 202: it is not in the tables yet
    row: mart_rows.Row | None = None  # of the mart, as it now is
    # What the source changed by itself, or stored otherwise: both values by column.
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    before: Row | None = None  # the row before the call; None of a new record
    is_invited: bool = False  # the source has sent invitations to those who take part


@dataclass
class Step:
    """One write on its way."""

    entry: WriteEntry
    spec: WriteSpec
    before: mart_rows.Row | None = None
    error: PipelineError | None = None
    outcome: WriteOutcome | None = None

    @property
    def is_invited(self) -> bool:
        """True if the call, once it is carried out, sends invitations."""
        return self.entry.notify and self.spec.invites_by is not None

    @property
    def is_open(self) -> bool:
        """True while it has no end."""
        return self.error is None and self.outcome is None


def final_body(spec: WriteSpec, body: Body, before: Row, *, notify: bool) -> Body:
    """The body in its last form; whether it invites anybody is always said.

    Args:
        spec: of the call.
        body: as it was checked.
        before: the row before the call; empty where there is none.
        notify: whether those who take part are invited.
    """
    shaped = spec.shape(dict(body), before)
    return shaped | {spec.invites_by: notify} if spec.invites_by else shaped


def fail(warehouse: Warehouse, step: Step, error: WriteError) -> None:
    """Settles a refused write; one that a person must decide, or its caller repeat, waits."""
    step.error = error
    if isinstance(error, NotWritten) and step.entry.idempotency_key is not None:
        step.entry = outbox.note_unsent(warehouse, step.entry)
    elif isinstance(error, RecordMoved) and step.entry.is_async:
        step.entry = outbox.note_conflict(warehouse, step.entry, error.facts())
    else:
        step.entry = outbox.settle(warehouse, step.entry, "refused", error.status, error.facts())


def record_name(entry: WriteEntry) -> str:
    """The record of a write in a message, by the id under which a caller may know it."""
    return "The new record" if entry.remote_id is None else f"{entry.system}:{entry.remote_id}"


def not_written(entry: WriteEntry) -> NotWritten:
    """A write that was looked for later and is not there."""
    return NotWritten(
        f"{record_name(entry)}: the CRM did not answer, and the write was looked for and is not "
        "there. Send it again with the same Idempotency-Key, or as a new request."
    )


def refusal_of(step: Step, error: SourceRefused) -> WriteError:
    """What a refusal of the source means; nothing was changed."""
    entry = step.entry
    what = record_name(entry)
    if error.status in GONE_STATUSES and entry.verb != "create":
        return RecordGone(f"{what}: the source has no such record any more. Nothing was changed.")
    text = error.source_text
    details = [
        {"field": declared.column, "issue": text}
        for declared in step.spec.fields
        if f"{declared.key}:" in text or f"'{declared.key}'" in text
    ]
    refused = RefusedBySource(
        f"{what}: the source refused it with status {error.status}"
        f"{f': {text}' if text else ''}. Nothing was changed.",
        details,
    )
    if error.status not in INVALID_STATUSES:
        refused.status = 403 if error.status == 403 else 409  # type: ignore[misc]
    return refused


def declared_values(step: Step) -> list[tuple[WriteField, Any]]:
    """What was sent, each value with its field."""
    by_column = step.spec.by_column
    return [
        (by_column[name], value) for name, value in step.entry.values.items() if name in by_column
    ]
