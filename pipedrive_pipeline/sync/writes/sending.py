"""Makes the calls of writes: committed to the outbox before and after, and never made twice.

A create whose answer was lost is looked for at once, and whenever it is tried again. It is made
again only when the source has had time to finish the first one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from pipedrive_pipeline.connectors.contract import Credential
from pipedrive_pipeline.connectors.refusals import SourceRefused
from pipedrive_pipeline.connectors.writing import Body, Writer, WriteTarget
from pipedrive_pipeline.errors import BudgetSpent, PipelineError, SourceBroke, SourceUnavailable
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.budget.daily_budget import KEPT_FOR_SYNCS
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.writes import mart_rows, outbox
from pipedrive_pipeline.sync.writes.entries import WriteEntry
from pipedrive_pipeline.sync.writes.errors import OutcomeUnknown, RecordMoved, WriteError
from pipedrive_pipeline.sync.writes.steps import (
    Step,
    Timing,
    fail,
    final_body,
    not_written,
    record_name,
    refusal_of,
)
from pipedrive_pipeline.warehouse.database import Warehouse

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sending:
    """The calls of one tenant's writes; their caller has the lock on writes.

    Attributes:
        warehouse: has the outbox.
        settings: of this installation.
        scope: whose writes.
        timing: how long what is waited for.
        is_background: True makes no call for a caller who waited, and only looks it up.
        credential: signs the calls; None: the connection's own.
    """

    warehouse: Warehouse
    settings: Settings
    scope: Scope
    timing: Timing
    is_background: bool
    credential: Credential | None = None

    async def send_all(self, steps: Sequence[Step], session: psycopg.Connection) -> None:
        """Makes the calls of writes that were not made, one after the other; notes each outcome."""
        unsent = [step for step in steps if step.entry.state != "written"]
        if not unsent:
            return
        source = SourceAccess(
            self.warehouse,
            self.settings,
            self.scope,
            kept_share=KEPT_FOR_SYNCS,
            credential=self.credential,
        )
        sent: set[tuple[str, str | None]] = set()
        try:
            async with source.open_writer() as writer:
                for step in unsent:
                    key = (step.entry.mart, step.entry.remote_id)
                    try:
                        if step.entry.expected_version and key in sent:
                            raise RecordMoved(
                                f"{record_name(step.entry)}: another row of this request has "
                                "changed it."
                            )
                        await self._send(step, writer, session)
                    except WriteError as error:
                        fail(self.warehouse, step, error)
                    except PipelineError as error:
                        step.error = error
                        source.note_spent_days([error])
                    if step.entry.remote_id is not None:
                        sent.add(key)
        except BudgetSpent as error:  # raised by the opening, before any call
            source.note_spent_days([error])
            for step in unsent:
                step.error = step.error or error
        finally:
            source.usage.write()

    async def _send(self, step: Step, writer: Writer, session: psycopg.Connection) -> None:
        entry, spec = step.entry, step.spec
        target = WriteTarget(entry.remote_id, entry.parent_remote_id)
        if entry.verb == "create" and entry.state == "sending":
            if await self._adopt(step, writer):
                return
            self._require_settled(step)
        if self.is_background and not entry.is_async:
            raise not_written(entry)
        body = self._final_body(step)
        step.entry = entry = outbox.note_sending(self.warehouse, entry, body)
        session.execute("select 1")  # the lock is still ours
        try:
            remote_id = await writer.send(spec, target, body)
        except (SourceUnavailable, SourceBroke) as error:
            if isinstance(error, SourceUnavailable) and error.is_undone and entry.attempts == 1:
                step.entry = outbox.note_unsent(self.warehouse, entry)
                raise
            await self._after_lost_answer(step, writer, error)
            return
        except SourceRefused as error:
            raise refusal_of(step, error) from error
        except PipelineError:
            if entry.attempts == 1:
                step.entry = outbox.note_unsent(self.warehouse, entry)
            raise
        step.entry = outbox.note_written(self.warehouse, entry, remote_id)

    def _final_body(self, step: Step) -> Body:
        entry, spec = step.entry, step.spec
        body = final_body(spec, entry.call_body, step.before or {}, notify=entry.notify)
        return body | {spec.marker: str(entry.id)} if spec.marker else body

    async def _after_lost_answer(self, step: Step, writer: Writer, error: PipelineError) -> None:
        """Looks at once for a create whose answer was lost.

        Raises:
            OutcomeUnknown: it is not there, or not yet.
        """
        try:
            if step.entry.verb == "create" and await self._adopt(step, writer):
                return
        except PipelineError as failed:
            log.info("%s: a lost create was not looked up: %s", self.scope, failed)
        raise OutcomeUnknown(self.scope.tenant.slug, str(error).rstrip(".")) from error

    async def _adopt(self, step: Step, writer: Writer) -> bool:
        """True if the create's record was found, and noted as written."""
        entry = step.entry
        if entry.first_sent_at is None:
            return False
        since = entry.first_sent_at - self.timing.skew
        target = WriteTarget(None, entry.parent_remote_id)
        found = await writer.created(step.spec, target, entry.call_body, since)
        for remote_id in found:
            if not self._is_anothers(entry, remote_id, entry.first_sent_at):
                step.entry = outbox.note_written(self.warehouse, entry, remote_id)
                return True
        return False

    def _is_anothers(self, entry: WriteEntry, remote_id: str, since: datetime) -> bool:
        """True of a record that another create made, or that was in the tables before the call."""
        with self.warehouse.transaction(tenant=self.scope.tenant) as connection:
            if outbox.claimed(connection, self.scope, entry.mart, [remote_id]):
                return True
            row = mart_rows.row_of(connection, self.scope, entry.mart, remote_id)
        return row is not None and row["created_at"] < since

    def _require_settled(self, step: Step) -> None:
        """Returns if a create that was not found may be made again.

        Raises:
            OutcomeUnknown: the source may still be working on it.
        """
        sent_at = step.entry.last_sent_at
        with self.warehouse.transaction() as connection:
            row = connection.execute("select clock_timestamp()").fetchone()
        if row and sent_at and row[0] - sent_at < self.timing.settle:
            raise OutcomeUnknown(
                self.scope.tenant.slug, "it was looked for and not found, and may still come"
            )
