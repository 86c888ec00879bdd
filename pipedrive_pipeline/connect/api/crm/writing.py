"""One request that writes: from its body to the answer, for one record or a hundred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope
from pipedrive_pipeline.connect.api.crm import reading
from pipedrive_pipeline.connect.api.crm.ids import parsed, shown
from pipedrive_pipeline.connect.api.crm.incoming import (
    ApiTerms,
    Incoming,
    api_name,
    in_api_names,
    incoming,
    rename,
)
from pipedrive_pipeline.connect.api.crm.objects import Row, resource_of
from pipedrive_pipeline.connect.api.crm.warnings import warnings_of
from pipedrive_pipeline.connect.api.idempotency import REPLAYED
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Credential
from pipedrive_pipeline.connectors.writing import Operation, Verb
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes.comparison import version
from pipedrive_pipeline.sync.writes.engine import Writes
from pipedrive_pipeline.sync.writes.entries import WriteEntry
from pipedrive_pipeline.sync.writes.errors import NotSupported, WriteError, WriteInvalid
from pipedrive_pipeline.sync.writes.matching import EXTERNAL_KEY, By, Match, Policy
from pipedrive_pipeline.sync.writes.requests import (
    WriteRequest,
    call_of,
    former_write,
    intended,
)
from pipedrive_pipeline.sync.writes.steps import WriteOutcome

PREFIX: Final = "/api/crm/v1"
MATCH_VALUE: Final = "match_value"


@dataclass(frozen=True)
class Target:
    """The record that a request names."""

    scope: Scope
    remote_id: str
    parent_remote_id: str | None


@dataclass(frozen=True)
class Asked:
    """What a write says besides its fields: headers, and how its record is found."""

    key: str | None
    if_match: str | None
    prefer: str | None
    match: By | None = None
    policy: Policy = "upsert"
    notify: bool = False  # those who take part are invited

    @property
    def expected(self) -> str | None:
        """The version in `If-Match`; ``*`` for any."""
        text = self.if_match
        return None if text is None else text.strip().removeprefix("W/").strip('"')

    @property
    def is_async(self) -> bool:
        """True if the caller does not wait."""
        preferences = (self.prefer or "").lower().split(",")
        return any(each.partition(";")[0].strip() == "respond-async" for each in preferences)


@dataclass(frozen=True)
class Writing:
    """Writes of one request, to one tenant's system."""

    request: Request
    services: Services
    caller: Caller
    declared: Mart
    scope: Scope
    credential: Credential | None = None  # that the request brought; None: the connection's own

    def answer(
        self, verb: Verb, body: Mapping[str, Any], asked: Asked, target: Target | None = None
    ) -> JSONResponse:
        """One write, from the body to the answer."""
        with in_api_names(self.declared, self.scope.system):
            entry = self._entry(verb, body, asked, target)
            if asked.is_async and not entry.is_settled:
                return self._accepted(entry)
            (done,) = self._done([entry])
            if isinstance(done, PipelineError):
                raise done
        if done.status == envelope.ACCEPTED:
            return self._accepted(done.entry)
        headers = {**(REPLAYED if entry.is_settled else {})}
        if done.row is not None:
            headers["etag"] = f'"{version(self.declared.name, done.row)}"'
        return envelope.answer(
            self.request,
            self._object(done),
            status=done.status,
            headers=headers,
            warnings=warnings_of(self.declared, done),
        )

    def batch(self, sent: Sequence[dict[str, Any]], key: str | None) -> list[dict[str, Any]]:
        """What became of each row."""
        results: list[PipelineError | WriteEntry] = []
        for place, body in enumerate(sent):
            try:
                results.append(self._row_entry(body, None if key is None else f"{key}/{place}"))
            except PipelineError as error:
                results.append(error)
        entries = [each for each in results if isinstance(each, WriteEntry)]
        done = iter(self._done(entries) if entries else ())
        ended = [next(done) if isinstance(each, WriteEntry) else each for each in results]
        return [self._row_answer(each) for each in ended]

    def tried(self, body: Mapping[str, Any], asked: Asked, *, is_dry: bool) -> dict[str, Any]:
        """One row: the call that it makes, and what became of it; None of a dry run."""
        with in_api_names(self.declared, self.scope.system):
            wanted = self.wanted("create", body, asked, None)
            call = self.call(wanted)
        if is_dry:
            return {"request": call, "answer": None}
        try:
            return {"request": call, "answer": self.shown(self.outcome(wanted))}
        except PipelineError as error:
            return {"request": call, "answer": self.refused(error)}

    def call(self, wanted: WriteRequest) -> dict[str, Any]:
        """The call to the CRM that a write makes; none is made here.

        Raises:
            PipelineError: as the write.
        """
        return call_of(self.services.warehouse, self.scope, wanted)

    def outcome(self, wanted: WriteRequest) -> WriteOutcome:
        """Does one write of this resource.

        Raises:
            PipelineError: why it was not done, or not yet; fields have the API's names.
        """
        with in_api_names(self.declared, self.scope.system):
            (done,) = self._done([intended(self.services.warehouse, self.scope, wanted)])
            if isinstance(done, PipelineError):
                raise done
        return done

    def shown(self, done: WriteOutcome) -> dict[str, Any]:
        """What became of a write, with the record as the caller sees it."""
        return {
            "status": done.status,
            "data": self._object(done),
            "warnings": warnings_of(self.declared, done),
        }

    def _row_entry(self, body: Mapping[str, Any], key: str | None) -> WriteEntry:
        fields = dict(body)
        record_id, if_match = fields.pop("id", None), fields.pop("if_match", None)
        asked = Asked(key, None if if_match is None else str(if_match), None)
        if record_id is None:
            return self._entry("create", fields, asked, None)
        target = target_of(self.services, self.caller, self.declared, str(record_id))
        if target.scope != self.scope:
            raise NotFound(f"Nothing of {resource_of(self.declared).path} has this id.")
        return self._entry("update", fields, asked, target)

    def _row_answer(self, done: PipelineError | WriteOutcome) -> dict[str, Any]:
        if isinstance(done, WriteOutcome):
            return self.shown(done)
        if isinstance(done, WriteError):
            rename(done, self.declared, self.scope.system)
        return self.refused(done)

    @staticmethod
    def refused(error: PipelineError) -> dict[str, Any]:
        """Why a write was not done, or not yet."""
        details = list(error.details) if isinstance(error, WriteError) else []
        shown_error = {"code": error.code, "message": str(error), "details": details}
        return {"status": envelope.status_of(error), "error": shown_error}

    def _entry(
        self, verb: Verb, body: Mapping[str, Any], asked: Asked, target: Target | None
    ) -> WriteEntry:
        """The write in the outbox, allowed and checked."""
        return intended(self.services.warehouse, self.scope, self.wanted(verb, body, asked, target))

    def wanted(
        self,
        verb: Verb,
        body: Mapping[str, Any],
        asked: Asked,
        target: Target | None,
        linked: Mapping[str, str] = MappingProxyType({}),
    ) -> WriteRequest:
        """The request by the mart's names.

        Args:
            verb: what is done.
            body: the fields, and what finds the record.
            asked: what the request says besides.
            target: the record; None of a create.
            linked: ids in the system of records that the body need not name, by link.

        Raises:
            WriteInvalid: a field, or what finds the record, cannot be used.
            WriteKeyReused: the key came with another request.
        """
        fields, match = _split_match(body, asked, self.caller)
        if verb == "create" and match is None and asked.if_match is not None:
            issue = {"field": "if_match", "issue": "needs a record: give its id, or a match"}
            raise WriteInvalid("if_match needs an id or a match. No call was made.", [issue])
        request = WriteRequest(
            mart=self.declared.name,
            verb=verb,
            who=self.caller.name,
            remote_id=target.remote_id if target else None,
            key=asked.key,
            if_match=asked.expected,
            is_async=asked.is_async,
            match=match,
            notify=asked.notify,
            sent=body,
            terms=ApiTerms(self.services.warehouse, self.caller, self.scope, self.declared),
        )
        # First of all: a record that the body names may be gone since the first request.
        former = former_write(self.services.warehouse, self.scope, request)
        if former is not None:
            return replace(request, former=former)
        with reading.as_caller(self.services.warehouse, self.caller) as connection:
            sent = incoming(connection, self.scope, self.declared, fields)
        sent.values = {**linked, **sent.values}
        parent = target.parent_remote_id if target else self._parent(sent)
        return replace(request, values=sent.values, custom=sent.custom, parent_remote_id=parent)

    def _parent(self, sent: Incoming) -> str | None:
        """The record in whose list a new one is made, taken out of what was sent.

        Raises:
            WriteInvalid: the body does not name it.
        """
        spec = registry.system(self.scope.system).writes.get(
            Operation(self.declared.name, "create")
        )
        if spec is None or spec.parent is None:
            return None
        parent = sent.values.pop(spec.parent[0], None)
        if parent is None:
            name = api_name(self.declared, spec.parent[0])
            raise WriteInvalid.of([{"field": name, "issue": "is required"}])
        return str(parent)

    def _done(self, entries: Sequence[WriteEntry]) -> list[WriteOutcome | PipelineError]:
        vault = self.services.vault
        with self.services.slow_work.slot(self.caller.tenant):
            writes = Writes(vault.warehouse, vault.settings, self.scope, credential=self.credential)
            return writes.do(entries)

    def _accepted(self, entry: WriteEntry) -> JSONResponse:
        return envelope.answer(
            self.request,
            {"write_id": str(entry.id), "state": entry.state},
            status=envelope.ACCEPTED,
            headers={"location": f"{PREFIX}/writes/{entry.id}"},
            warnings=[],
        )

    def _object(self, done: WriteOutcome) -> dict[str, Any] | None:
        """The record as the caller sees it; only its id if it became invisible to the caller."""
        if done.row is None:
            return None
        record_id = shown(resource_of(self.declared), done.row["id"])
        try:
            return reading.object_of(
                self.services.warehouse, self.caller, self.declared, record_id, deleted=True
            )
        except NotFound:
            return {"id": record_id}


def _split_match(
    body: Mapping[str, Any], asked: Asked, caller: Caller
) -> tuple[Mapping[str, Any], Match | None]:
    """The body without what only finds the record, and how it is found.

    Raises:
        WriteInvalid: the body has no value to look for, or two.
    """
    if asked.match is None:
        return body, None
    left = dict(body)
    values = [left.pop(MATCH_VALUE, None), left.pop(asked.match, None)]
    own = body.get(EXTERNAL_KEY)
    left.pop(EXTERNAL_KEY, None)
    given = [each for each in values if each]
    if len(given) == len(values) and values[0] != values[1]:
        raise _no_value(f"has two values, under {asked.match} and {MATCH_VALUE}; send one of them")
    several = body.get(f"{asked.match}s")
    first = several[0] if isinstance(several, list) and several else None
    first = first.get("value") if isinstance(first, Mapping) else first
    chosen = next((each for each in (*given, first) if each), None)
    if not isinstance(chosen, str):
        raise _no_value(f"needs a text under {asked.match} or {MATCH_VALUE}")
    if not isinstance(own, str | None):
        raise _no_value(f"needs a text under {EXTERNAL_KEY}")
    also = None if asked.match == EXTERNAL_KEY else own
    user_id = None if caller.crm_user_id is None else str(caller.crm_user_id)
    return left, Match(asked.match, chosen, asked.policy, also, user_id)


def _no_value(issue: str) -> WriteInvalid:
    return WriteInvalid(f"match {issue}. No call was made.", [{"field": "match", "issue": issue}])


def target_of(services: Services, caller: Caller, declared: Mart, record_id: str) -> Target:
    """The record with this id, if the caller may see it.

    Raises:
        NotFound: there is none.
        NotSupported: the app made it; no system has it.
    """
    resource = resource_of(declared)
    with reading.as_caller(services.warehouse, caller) as connection:
        row = reading.row_of(connection, caller.tenant, declared, parsed(record_id, resource))
    if row is None:
        raise NotFound(f"Nothing of {resource.path} has this id.")
    if row["system"] is None:
        raise NotSupported("The app made this record itself; no CRM has it.")
    scope = Scope(caller.tenant, row["system"])
    return Target(scope, str(row["remote_id"]), _parent_id(declared, row))


def _parent_id(declared: Mart, row: Row) -> str | None:
    """The id in the system of the record in whose list this one is."""
    for link in declared.links:
        if link.name in resource_of(declared).nested:
            remote_id = row[link.remote_column]
            return None if remote_id is None else str(remote_id)
    return None
