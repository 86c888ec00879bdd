"""Writes the records of one request: all are checked first, then written in order and linked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from fastapi import Request

from pipedrive_pipeline.connect.api.crm.ids import shown_remote
from pipedrive_pipeline.connect.api.crm.incoming import in_api_names
from pipedrive_pipeline.connect.api.crm.writing import (
    MATCH_VALUE,
    Asked,
    Target,
    Writing,
)
from pipedrive_pipeline.connect.api.linked_records.models import (
    Invitation,
    SentRecord,
    SyncAnswer,
    SyncedRecord,
    TriedRecord,
    TriedRecords,
)
from pipedrive_pipeline.connect.api.linked_records.operations import (
    RecordPart,
    SyncOperation,
    links_between,
)
from pipedrive_pipeline.connect.api.linked_records.reading import target_in
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Credential
from pipedrive_pipeline.connectors.writing import Operation, Verb
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes.errors import Duplicate, WriteError
from pipedrive_pipeline.sync.writes.matching import EXTERNAL_KEY
from pipedrive_pipeline.sync.writes.requests import WriteRequest, checked_request
from pipedrive_pipeline.sync.writes.steps import WriteOutcome

NOT_YET: Final = "0"  # in place of the id of a record that is written before


@dataclass(frozen=True)
class RecordSync:
    """The records of one request, and who writes them where.

    Attributes:
        request, services, caller: of the request.
        scope: the tenant and system.
        operation: what the route writes.
        sent: the records by the names of their parts.
        credential: that signs the calls; None: the connection's own.
        key: the Idempotency-Key; each record has one of its own, made from it.
        notify: whether those who take part are invited.
    """

    request: Request
    services: Services
    caller: Caller
    scope: Scope
    operation: SyncOperation
    sent: Mapping[str, SentRecord]
    credential: Credential | None = None
    key: str | None = None
    notify: bool = False

    def write(self) -> tuple[int, SyncAnswer]:
        """What became of each record, and the HTTP status of the main one.

        Raises:
            PipelineError: why a record was not written; its details name what was written before.
        """
        self._require_usable()
        done: dict[str, WriteOutcome] = {}
        for part in self._parts:
            try:
                outcome = self._writing(part).outcome(self._wanted(part, self._ids(done)))
            except WriteError as error:
                _name_fields(error, part)
                error.details += tuple(
                    {"field": name, "issue": f"was written: {self._id(each)}"}
                    for name, each in done.items()
                )
                raise
            done[part.name] = outcome
        return self._answer(done)

    def tried(self, *, is_dry: bool) -> TriedRecords:
        """The call that each record makes, and what became of it; nothing is sent in a dry run."""
        self._require_usable()
        records: dict[str, TriedRecord] = {}
        remote_ids: dict[str, str] = {}
        for part in self._parts:
            writing, wanted = self._writing(part), self._wanted(part, remote_ids)
            with in_api_names(part.mart):
                call = writing.call(wanted)
            if is_dry:
                records[part.name] = TriedRecord(request=self._without_ids(part, call), answer=None)
                remote_ids[part.name] = NOT_YET
                continue
            try:
                outcome = writing.outcome(wanted)
            except PipelineError as error:
                records[part.name] = TriedRecord(request=call, answer=writing.refused(error))
                break
            records[part.name] = TriedRecord(request=call, answer=writing.shown(outcome))
            remote_ids[part.name] = outcome.entry.remote_id or NOT_YET
        return TriedRecords(platform=self.scope.system, records=records)

    @cached_property
    def _parts(self) -> list[RecordPart]:
        return [part for part in self.operation.parts if part.name in self.sent]

    def _writing(self, part: RecordPart) -> Writing:
        return Writing(
            self.request, self.services, self.caller, part.mart, self.scope, self.credential
        )

    def _require_usable(self) -> None:
        """Returns if every record may be written as it was sent; no call is made.

        Raises:
            WriteError: what is wrong with the first one that may not.
            NotFound: an id names no record of the tenant in this system.
        """
        written: dict[str, str] = {}
        for part in self._parts:
            try:
                with in_api_names(part.mart):
                    wanted = self._wanted(part, written)
                    if wanted.former is None:
                        checked_request(self.services.vault.warehouse, self.scope, wanted)
            except WriteError as error:
                _name_fields(error, part)
                raise
            written[part.name] = NOT_YET

    def _wanted(self, part: RecordPart, written: Mapping[str, str]) -> WriteRequest:
        """The request of one part, linked to those that are written: ids in the system by name.

        Raises:
            Duplicate: it would change the record of its id, and its policy changes none.
            PipelineError: as `Writing.wanted`.
        """
        record, target = self.sent[part.name], self._target(part)
        if target is not None and record.policy == "create_only":
            raise Duplicate(
                f"{part.name}.id names a record that is there, and create_only changes none. "
                "Leave out the id, or send the policy update_only. Nothing was written.",
                [{"field": "id", "issue": "is that of a record that is there"}],
            )
        by, policy, body = record.by, record.policy, dict(record.fields)
        if record.match_value is not None:
            body[MATCH_VALUE] = record.match_value
        if record.external_key is not None:
            body[EXTERNAL_KEY] = record.external_key
        if target is not None:  # nothing is looked for; the app's own key is remembered
            by, policy = EXTERNAL_KEY if record.external_key else None, "update_only"
            body.pop(MATCH_VALUE, None)
            if record.match not in {None, EXTERNAL_KEY}:
                body.pop(record.match, None)
        asked = Asked(
            None if self.key is None else f"{self.key}/{part.name}",
            record.if_match,
            None,
            by,
            policy,
            notify=self.notify and part == self.operation.main,
        )
        verb: Verb = "create" if target is None else "update"
        return self._writing(part).wanted(verb, body, asked, target, self._linked(part, written))

    def _linked(self, part: RecordPart, written: Mapping[str, str]) -> dict[str, str]:
        """The ids of the links to what was written before, as far as the system can set them."""
        verb: Verb = "update" if self.sent[part.name].id else "create"
        spec = registry.system(self.scope.system).writes.get(Operation(part.mart_name, verb))
        return {
            link: written[earlier.name]
            for earlier in self._parts
            if earlier.name in written
            for link in links_between(part, earlier)
            if spec is not None and link in spec.by_column
        }

    def _target(self, part: RecordPart) -> Target | None:
        record_id = self.sent[part.name].id
        if record_id is None:
            return None
        return target_in(self.services, self.caller, self.scope, part, record_id)

    def _without_ids(self, part: RecordPart, call: dict[str, Any]) -> dict[str, Any]:
        """The call, with words in place of ids that only a real write would know."""
        spec = registry.system(self.scope.system).writes[Operation(part.mart_name, "create")]
        every = dict.fromkeys(self.sent, NOT_YET)
        words = {spec.by_column[link].key: f"<{link}>" for link in self._linked(part, every)}
        return {**call, "body": _in_words(call["body"], words)}

    def _ids(self, done: Mapping[str, WriteOutcome]) -> dict[str, str]:
        return {name: each.entry.remote_id or NOT_YET for name, each in done.items()}

    def _id(self, done: WriteOutcome) -> str:
        return shown_remote(self.scope.system, done.entry.remote_id or "")

    def _answer(self, done: Mapping[str, WriteOutcome]) -> tuple[int, SyncAnswer]:
        main = done.get(self.operation.main.name) or next(iter(done.values()))
        answer = SyncAnswer(
            platform=self.scope.system,
            **{part.name: self._synced(part, done[part.name]) for part in self._parts},
        )
        if self.operation.main.invites:
            answer = answer.model_copy(update={"invitation": self._invitation(main)})
        return main.status, answer

    def _synced(self, part: RecordPart, done: WriteOutcome) -> SyncedRecord:
        return SyncedRecord(
            action="created" if done.entry.verb == "create" else "updated",
            id=self._id(done),
            **self._writing(part).shown(done),
        )

    def _invitation(self, done: WriteOutcome) -> Invitation:
        """Whether an invitation went out, and why not."""
        label = registry.system(self.scope.system).label
        if done.is_invited:
            return Invitation(was_sent=True, reason="")
        if not self.notify:
            return Invitation(was_sent=False, reason="The request did not ask for it (notify).")
        return Invitation(
            was_sent=False,
            reason=f"{label} keeps appointments as records and invites nobody.",
        )


def _in_words(body: Any, words: Mapping[str, str]) -> Any:
    """A body in which these keys have words where they have no id yet."""
    if isinstance(body, list):
        return [_in_words(each, words) for each in body]
    if not isinstance(body, dict):
        return body
    return {
        key: words[key] if key in words and str(value) == NOT_YET else _in_words(value, words)
        for key, value in body.items()
    }


def _name_fields(error: WriteError, part: RecordPart) -> None:
    """Puts the record's name before the fields in an error's details."""
    error.details = tuple(
        {**each, "field": f"{part.name}.{each['field']}"} for each in error.details
    )
