"""A request to write, until it is an intent in the outbox: allowed, checked, remembered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pipedrive_pipeline.connectors.writing import Verb
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes import mart_rows, outbox
from pipedrive_pipeline.sync.writes.entries import Intent, WriteEntry
from pipedrive_pipeline.sync.writes.match_values import RecordValues, with_match_value
from pipedrive_pipeline.sync.writes.matching import Match, matched, require_usable
from pipedrive_pipeline.sync.writes.policy import require_allowed, spec_of
from pipedrive_pipeline.sync.writes.steps import final_body
from pipedrive_pipeline.sync.writes.terms import MART_TERMS, Terms
from pipedrive_pipeline.sync.writes.validation import Check, Checked
from pipedrive_pipeline.warehouse.database import Warehouse

MARKED: Final = "<id of the write>"  # in place of an id that only a write has


@dataclass(frozen=True)
class WriteRequest:
    """What somebody wants to be written.

    Attributes:
        mart: whose record.
        verb: what is done to it.
        who: the caller, as the outbox names it.
        values: by column of the mart; a reference is the other record's id in the system.
        custom: values of custom fields, by name or key.
        remote_id: the record; None of a create.
        parent_remote_id: the record in whose list it is.
        key: the Idempotency-Key.
        if_match: the version that the caller has read; ``*``: any.
        is_async: whether the caller does not wait.
        match: of a create: how a record is found that it changes instead.
        notify: whether those who take part are invited, where the system does so.
        sent: the body as the caller sent it, which tells two requests apart; None: values and
            custom do.
        former: the write of the same request that came before with this key, if one did; what the
            body says need not be known then.
        terms: how the caller names columns and records; they do not make it another request.
    """

    mart: str
    verb: Verb
    who: str
    values: Mapping[str, Any] = field(default_factory=dict)
    custom: Mapping[str, Any] = field(default_factory=dict)
    remote_id: str | None = None
    parent_remote_id: str | None = None
    key: str | None = None
    if_match: str | None = None
    is_async: bool = False
    match: Match | None = None
    notify: bool = False
    sent: Mapping[str, Any] | None = None
    former: WriteEntry | None = None
    terms: Terms = MART_TERMS

    @property
    def hash(self) -> str:
        """The same for the same request of the same caller."""
        read = [self.parent_remote_id, dict(self.values), dict(self.custom)]
        facts = [
            self.who,
            self.mart,
            self.verb,
            self.remote_id,
            read if self.sent is None else dict(self.sent),
            self.if_match,
            self.match and self.match.as_json(),
            self.notify,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def former_write(warehouse: Warehouse, scope: Scope, request: WriteRequest) -> WriteEntry | None:
    """The write of the same request that came before with the same key; None if none did.

    Raises:
        WriteKeyReused: the key came with another request.
    """
    if request.key is None:
        return None
    with warehouse.transaction(tenant=scope.tenant) as connection:
        return outbox.find(connection, scope.tenant, request.key, request.hash)


def intended(warehouse: Warehouse, scope: Scope, request: WriteRequest) -> WriteEntry:
    """The request in the outbox; one that came before with the same key as it is there.

    Raises:
        NotSupported, WritingForbidden, NotRead, WriteInvalid: nothing was stored, no call was made.
        WriteKeyReused: the key came with another request.
    """
    former = request.former or former_write(warehouse, scope, request)
    if former is not None:
        return former
    done = checked_request(warehouse, scope, request)
    intent = Intent(
        scope=scope,
        mart=request.mart,
        verb=request.verb,
        body=done.sent.body,
        values=done.sent.values,
        new_body=done.new.body,
        new_values=done.new.values,
        who=request.who,
        request_hash=request.hash,
        remote_id=request.remote_id,
        parent_remote_id=request.parent_remote_id,
        idempotency_key=request.key,
        expected_version=request.if_match,
        is_async=request.is_async,
        match=None if request.match is None else request.match.as_json(),
        notify=request.notify,
    )
    return outbox.intend(warehouse, intent)


@dataclass(frozen=True)
class CheckedRequest:
    """The bodies of a request that was checked.

    Attributes:
        sent: what the request says.
        new: what a new record is made from; it has the value of the match, too.
    """

    sent: Checked
    new: Checked


def checked_request(warehouse: Warehouse, scope: Scope, request: WriteRequest) -> CheckedRequest:
    """The bodies of a request that is allowed and fits the source's definitions.

    Raises:
        NotSupported, WritingForbidden, NotRead, WriteInvalid: no call was made.
    """
    spec, match = spec_of(scope.system, request.mart, request.verb), request.match
    with warehouse.transaction(tenant=scope.tenant) as connection:
        require_allowed(connection, scope, request.mart, spec)
        if match is not None:
            require_usable(request.mart, match)
        check = Check(
            connection,
            scope,
            request.mart,
            spec,
            remote_id=request.remote_id,
            terms=request.terms,
        )
        is_new = request.verb == "create" and (match is None or match.policy != "update_only")
        sent = check.checked(request.values, request.custom, is_new=is_new)
        if match is None or not is_new:
            return CheckedRequest(sent, sent)
        values = RecordValues(request.values, request.custom)
        new = with_match_value(
            connection, scope, spec, match, values, custom_fields=check.custom_fields
        )
        return CheckedRequest(sent, check.checked(new.values, new.custom, is_new=True))


def call_of(warehouse: Warehouse, scope: Scope, request: WriteRequest) -> dict[str, Any]:
    """The call that a request makes: method, path, body, and tokens of the day's budget.

    With a match that is found another call is made, that of an update. Its body may depend on the
    record, which is here as the tables have it; a write reads it again first. The id that marks a
    new record is not known before the write.

    Raises:
        NotSupported, WritingForbidden, NotRead, WriteInvalid, NoMatch, Duplicate: as the write.
    """
    done = checked_request(warehouse, scope, request)
    verb, remote_id = request.verb, request.remote_id
    if request.match is not None and verb == "create":
        with warehouse.transaction(tenant=scope.tenant) as connection:
            remote_id = matched(connection, scope, request.mart, request.match)
        verb = "create" if remote_id is None else "update"
    spec = spec_of(scope.system, request.mart, verb)
    before: mart_rows.Row | None = None
    if remote_id is not None:  # in a transaction of its own: a match may have taken a user's rights
        with warehouse.transaction(tenant=scope.tenant) as connection:
            before = mart_rows.row_before(connection, scope, spec, request.mart, remote_id)
    checked = done.new if verb == "create" else done.sent
    body = final_body(spec, checked.body, before or {}, notify=request.notify)
    if spec.marker is not None:
        body |= {spec.marker: MARKED}
    return {
        "system": scope.system,
        "method": spec.method,
        "path": spec.path.format(id=remote_id, parent=request.parent_remote_id),
        "body": body,
        "tokens": spec.tokens,
        "matched": None if remote_id is None else f"{scope.system}:{remote_id}",
    }
