"""Does writes, in steps that a crash may part anywhere: nothing is written twice, nothing is lost.

1. The records are read again; a version that moved, or a state that forbids it, refuses the write.
2. The outbox says `sending`, then the call is made, then the outbox says `written` (`sending.py`).
3. The records are read again into raw and marts, as after any signal; the outbox says `done`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg
from psycopg import errors

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Credential
from pipedrive_pipeline.connectors.writing import Operation, WriteField, WriteSpec
from pipedrive_pipeline.errors import (
    PipelineError,
    UnknownTenant,
)
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.writes import comparison, links, mart_rows, outbox
from pipedrive_pipeline.sync.writes.entries import WriteEntry
from pipedrive_pipeline.sync.writes.errors import (
    CompanyChanged,
    Duplicate,
    OutcomeUnknown,
    RecordGone,
    RecordMoved,
    RecordNotWritable,
    Refused,
    TablesBehind,
    WriteError,
    WritesBusy,
)
from pipedrive_pipeline.sync.writes.matching import (
    Match,
    live_id,
    match_of,
    matched,
    require_visible,
)
from pipedrive_pipeline.sync.writes.policy import require_allowed
from pipedrive_pipeline.sync.writes.sending import Sending
from pipedrive_pipeline.sync.writes.steps import (
    ACCEPTED,
    CREATED,
    OK,
    TIMING,
    Step,
    Timing,
    WriteOutcome,
    declared_values,
    fail,
    record_name,
)
from pipedrive_pipeline.warehouse import locks
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.reused_connection import reusing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Writes:
    """Does the writes of one tenant and system."""

    warehouse: Warehouse
    settings: Settings
    scope: Scope
    timing: Timing = TIMING
    is_background: bool = False  # then a write whose caller waited is never sent (again)
    credential: Credential | None = None  # that signs the calls; None: the connection's own

    def do(self, entries: Sequence[WriteEntry]) -> list[WriteOutcome | PipelineError]:
        """What becomes of each write; one that fails holds back no other.

        Raises:
            WritesBusy: other writes of the tenant take too long; nothing was begun.
            DatabaseUnavailable: what was begun is settled later.
        """
        with reusing(self.warehouse) as warehouse:
            return replace(self, warehouse=warehouse)._do(entries)  # noqa: SLF001 - our own

    def _do(self, entries: Sequence[WriteEntry]) -> list[WriteOutcome | PipelineError]:
        with self._turn() as session:
            steps = [Step(entry, self._spec(entry)) for entry in self._as_now(entries)]
            for step in steps:
                if step.entry.is_settled:
                    self._replay(step)
                elif step.entry.company_id != self._company():
                    fail(self.warehouse, step, CompanyChanged(_company_text(step.entry)))
                elif step.entry.state == "intended":
                    self._require_allowed(step)
            self._match([each for each in steps if each.is_open])
            self._read_before([step for step in steps if step.is_open])
            sending = Sending(
                self.warehouse,
                self.settings,
                self.scope,
                self.timing,
                self.is_background,
                self.credential,
            )
            asyncio.run(sending.send_all([step for step in steps if step.is_open], session))
            self._finish([step for step in steps if step.is_open])
        return [step.outcome or step.error or _unsettled(step) for step in steps]

    @contextmanager
    def _turn(self) -> Iterator[psycopg.Connection]:
        """Holds the right to write; migrations are kept out."""
        name = self.scope.write_lock
        with self.warehouse.lock_session(name) as session:
            locks.take(session, locks.MIGRATION, is_shared=True)
            try:
                locks.take(session, name, wait_seconds=self.timing.turn_seconds)
            except errors.LockNotAvailable:
                raise WritesBusy(self.scope.tenant.slug) from None
            except errors.UndefinedTable:
                raise UnknownTenant(self.scope.tenant.slug) from None
            yield session

    def _as_now(self, entries: Sequence[WriteEntry]) -> list[WriteEntry]:
        """The rows as they are under the lock: another process may have settled them."""
        with self.warehouse.transaction(tenant=self.scope.tenant) as connection:
            found = [outbox.entry_of(connection, self.scope.tenant, each.id) for each in entries]
        return [new or old for new, old in zip(found, entries, strict=True)]

    def _spec(self, entry: WriteEntry) -> WriteSpec:
        return registry.system(entry.system).writes[Operation(entry.mart, entry.verb)]

    def _company(self) -> str | None:
        with self.warehouse.transaction(tenant=self.scope.tenant) as connection:
            values = [self.scope.tenant.slug, self.scope.system]
            row = connection.execute(_COMPANY, values).fetchone()
        return row[0] if row else None

    def _require_allowed(self, step: Step) -> None:
        """Refuses a write that the tenant has forbidden while it waited to be sent."""
        try:
            with self.warehouse.transaction(tenant=self.scope.tenant) as connection:
                require_allowed(connection, self.scope, step.entry.mart, step.spec)
        except WriteError as error:
            fail(self.warehouse, step, error)

    def _replay(self, step: Step) -> None:
        """Gives a settled write its answer again, with the row as it now is."""
        entry = step.entry
        answer = entry.answer or {}
        if entry.state == "refused":
            step.error = Refused(entry.status or Refused.status, answer)
            return
        step.outcome = WriteOutcome(
            entry, entry.status or OK, self._row(entry), is_invited=bool(answer.get("invited"))
        )

    # 1. Before the call

    def _match(self, steps: Sequence[Step]) -> None:
        """Makes each create a change of the record that matches it, or refuses it."""
        wanted: set[tuple[str, Match]] = set()
        for step in steps:
            match, entry = match_of(step.entry.match), step.entry
            if match is None or entry.verb != "create" or entry.state != "intended":
                continue
            try:
                remote_id = self._matched_id(entry, match, wanted)
                if remote_id is None and entry.expected_version is not None:
                    raise RecordMoved(
                        f"No record has this {match.by}, so that none has the version that was "
                        "read. Nothing was written."
                    )
            except WriteError as error:
                fail(self.warehouse, step, error)
            except OutcomeUnknown as error:
                step.error = error
            else:
                if remote_id is not None:
                    step.entry = outbox.note_matched(self.warehouse, entry, remote_id)
                    step.spec = self._spec(step.entry)

    def _matched_id(
        self, entry: WriteEntry, match: Match, wanted: set[tuple[str, Match]]
    ) -> str | None:
        if (entry.mart, match) in wanted:
            raise Duplicate(f"Another row of this request has the same {match.by}.")
        wanted.add((entry.mart, match))
        with self.warehouse.transaction(tenant=self.scope.tenant) as connection:
            if outbox.is_unsettled(connection, entry):
                reason = "an earlier write of the same key is not settled"
                raise OutcomeUnknown(self.scope.tenant.slug, reason)
            return matched(connection, self.scope, entry.mart, match)

    def _read_before(self, steps: Sequence[Step]) -> None:
        """Reads the records again that are to be changed, and refuses what cannot be written."""
        steps = [each for each in steps if each.entry.verb != "create"]
        unwritten = [each for each in steps if each.entry.state != "written"]
        try:
            self._bring_in(unwritten)
            self._bring_in([step for step in unwritten if self._is_survivor_due(step)])
        except PipelineError as error:
            for step in unwritten:
                step.error = error
            return
        for step in unwritten:
            if step.error is not None:
                continue
            remote_id = step.entry.remote_id
            if remote_id is not None:
                with self.warehouse.transaction(tenant=self.scope.tenant) as connection:
                    step.before = mart_rows.row_before(
                        connection, self.scope, step.spec, step.entry.mart, remote_id
                    )
            try:
                self._require_writable(step)
            except WriteError as error:
                fail(self.warehouse, step, error)

    def _is_survivor_due(self, step: Step) -> bool:
        """True if the matched record was merged into another one meanwhile, which is written then.

        That one has to be read, too. If the caller may not see it, the write is refused.
        """
        entry, match = step.entry, match_of(step.entry.match)
        if match is None or entry.state != "intended" or entry.remote_id is None:
            return False
        try:
            with self.warehouse.transaction(tenant=self.scope.tenant) as connection:
                remote_id = live_id(connection, self.scope, entry.mart, entry.remote_id)
                if remote_id is None or remote_id == entry.remote_id:
                    return False
                require_visible(connection, self.scope, entry.mart, [remote_id], match)
        except WriteError as error:
            fail(self.warehouse, step, error)
            return False
        step.entry = outbox.note_matched(self.warehouse, entry, remote_id)
        return True

    def _require_writable(self, step: Step) -> None:
        entry, before = step.entry, step.before
        if before is None or before["deleted_at"] is not None:
            if entry.verb == "delete":
                step.entry = outbox.note_written(self.warehouse, entry, None)
                return
            if self._is_made_again(step):
                step.entry = outbox.note_unmatched(self.warehouse, entry)
                step.spec, step.before = self._spec(step.entry), None
                return
            raise RecordGone(
                f"{record_name(entry)}: the record is gone at the source, or the "
                "connected user may not see it. Nothing was changed."
            )
        if entry.state == "sending" and self._is_there(step):
            step.entry = outbox.note_written(self.warehouse, entry, None)
            return
        if entry.expected_version not in {None, "*", comparison.version(entry.mart, before)}:
            raise RecordMoved(
                f"{record_name(entry)}: the record was changed since it was read. "
                "Nothing was written; read it again.",
                self._both_values(step, before),
            )
        reason = step.spec.refusal(before, entry.call_body)
        if reason is not None:
            raise RecordNotWritable(
                f"{record_name(entry)} cannot be changed: {reason}. Nothing was written."
            )

    @staticmethod
    def _is_made_again(step: Step) -> bool:
        """True of an upsert whose record was found and is deleted at the source, as we see now."""
        match, before = match_of(step.entry.match), step.before
        is_deleted = before is not None and before["deletion_reason"] == "deleted"
        is_upsert = match is not None and match.policy == "upsert"
        is_any = step.entry.expected_version is None
        return is_deleted and is_upsert and is_any and step.entry.state == "intended"

    def _is_there(self, step: Step) -> bool:
        """True if a call whose answer was lost has changed the row as it was to."""
        if step.entry.verb == "delete" or step.before is None:
            return False
        return bool(step.entry.values) and all(
            comparison.is_stored(declared, step.entry.mart, value, step.before)
            for declared, value in declared_values(step)
        )

    @staticmethod
    def _both_values(step: Step, before: mart_rows.Row) -> list[dict[str, str]]:
        name, details = step.entry.mart, []
        for declared, value in _comparable_values(step, before):
            is_same = comparison.is_stored(declared, name, value, before)
            details.append(
                {
                    "field": declared.column,
                    "issue": "the record has your value already"
                    if is_same
                    else "the record has another value",
                    "yours": comparison.shown(value),
                    "current": comparison.shown(comparison.stored_value(declared, name, before)),
                }
            )
        return details

    # 2. After the call

    def _finish(self, steps: Sequence[Step]) -> None:
        """Brings what was written into the tables, and settles it."""
        written = [step for step in steps if step.entry.state == "written"]
        if not written:
            return
        try:
            self._bring_in(written)
        except PipelineError as error:
            log.info("%s: written records are not in the tables yet: %s", self.scope, error)
            for step in written:
                step.outcome = WriteOutcome(step.entry, ACCEPTED, is_invited=step.is_invited)
            return
        for step in written:
            self._link(step.entry)
            step.outcome = self._done(step)

    def _link(self, entry: WriteEntry) -> None:
        """Remembers which record an app's own key names."""
        match = match_of(entry.match)
        if match is None or match.own_key is None or entry.remote_id is None:
            return
        with self.warehouse.transaction(tenant=self.scope.tenant) as connection:
            links.link(
                connection,
                self.scope,
                entry.mart,
                match.own_key,
                entry.remote_id,
                who=entry.requested_by,
            )

    def _done(self, step: Step) -> WriteOutcome:
        entry = step.entry
        row = self._row(entry)
        is_gone = row is None or row["deleted_at"] is not None
        if is_gone != (entry.verb == "delete") and (entry.verb == "delete" or row is None):
            log.info("%s: %s %s is not in the tables yet", self.scope, entry.mart, entry.remote_id)
            return WriteOutcome(entry, ACCEPTED, is_invited=step.is_invited)
        changed = self._changes(step, row) if row is not None and entry.verb != "delete" else {}
        status = CREATED if entry.verb == "create" else OK
        answer: dict[str, Any] = {"changed": sorted(changed)}
        if step.is_invited:
            answer["invited"] = True
        settled = outbox.settle(self.warehouse, entry, "done", status, answer)
        before = None if entry.verb in {"create", "delete"} else step.before
        return WriteOutcome(settled, status, row, changed, before, step.is_invited)

    def _changes(self, step: Step, row: mart_rows.Row) -> dict[str, tuple[Any, Any]]:
        """What the source stored otherwise than sent, and what it changed besides."""
        entry = step.entry
        changed: dict[str, tuple[Any, Any]] = {
            declared.column: (value, comparison.stored_value(declared, entry.mart, row))
            for declared, value in _comparable_values(step, row)
            if not comparison.is_stored(declared, entry.mart, value, row, unsure=True)
        }
        if step.before is not None and entry.verb != "create":
            others = comparison.changes(entry.mart, step.before, row)
            changed |= {name: both for name, both in others.items() if name not in entry.values}
        return changed

    def _bring_in(self, steps: Sequence[Step]) -> None:
        records: dict[str, list[str]] = {}
        for step in steps:
            entry = step.entry
            for entity, ids in mart_rows.records_of(
                step.spec, entry.remote_id, entry.parent_remote_id
            ).items():
                records[entity] = list(dict.fromkeys([*records.get(entity, ()), *ids]))
        if records:
            mart_rows.bring_in(
                self.warehouse,
                self.settings,
                self.scope,
                records,
                wait_seconds=self.timing.tables_seconds,
            )

    def _row(self, entry: WriteEntry) -> mart_rows.Row | None:
        if entry.remote_id is None:
            return None
        with self.warehouse.transaction(tenant=self.scope.tenant) as connection:
            return mart_rows.row_of(connection, self.scope, entry.mart, entry.remote_id)


def _comparable_values(step: Step, row: mart_rows.Row) -> Iterator[tuple[WriteField, Any]]:
    """Yields what was sent and has a column in the row; prices have a mart of their own."""
    return ((each, value) for each, value in declared_values(step) if each.column in row)


def _unsettled(step: Step) -> PipelineError:
    return TablesBehind(step.entry.tenant_id)


def _company_text(entry: WriteEntry) -> str:
    became = {
        "written": "It was written there.",
        "sending": "It was sent there, and whether it was written is not known.",
    }.get(entry.state, "Nothing was sent.")
    return (
        f"{entry.tenant_id}: the tenant was connected to another account of {entry.system} before "
        f"this was in its tables. {became}"
    )


_COMPANY: Final = """
select connections.company_id
from integration.connections
where connections.tenant_id = %s
    and connections.system = %s
"""
