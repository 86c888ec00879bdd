"""A request to write, until it is an intent in the outbox: allowed, checked, remembered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipedrive_pipeline.connectors.writing import Verb
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes import outbox
from pipedrive_pipeline.sync.writes.entries import Intent, WriteEntry
from pipedrive_pipeline.sync.writes.matching import Match, matched, require_usable
from pipedrive_pipeline.sync.writes.policy import require_allowed, spec_of
from pipedrive_pipeline.sync.writes.steps import final_body
from pipedrive_pipeline.sync.writes.validation import Check, Checked
from pipedrive_pipeline.warehouse.database import Warehouse


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

    @property
    def hash(self) -> str:
        """The same for the same request of the same caller."""
        facts = [
            self.who,
            self.mart,
            self.verb,
            self.remote_id,
            self.parent_remote_id,
            dict(self.values),
            dict(self.custom),
            self.if_match,
            self.match and self.match.as_json(),
            self.notify,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def intended(warehouse: Warehouse, scope: Scope, request: WriteRequest) -> WriteEntry:
    """The request in the outbox; one that came before with the same key as it is there.

    Raises:
        NotSupported, WritingForbidden, NotRead, WriteInvalid: nothing was stored, no call was made.
        WriteKeyReused: the key came with another request.
    """
    if request.key is not None:
        with warehouse.transaction(tenant=scope.tenant) as connection:
            former = outbox.find(connection, scope.tenant, request.key, request.hash)
        if former is not None:
            return former
    done = checked_request(warehouse, scope, request)
    intent = Intent(
        scope=scope,
        mart=request.mart,
        verb=request.verb,
        body=done.body,
        values=done.values,
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


def checked_request(warehouse: Warehouse, scope: Scope, request: WriteRequest) -> Checked:
    """The body of a request that is allowed and fits the source's definitions.

    Raises:
        NotSupported, WritingForbidden, NotRead, WriteInvalid: no call was made.
    """
    spec = spec_of(scope.system, request.mart, request.verb)
    with warehouse.transaction(tenant=scope.tenant) as connection:
        require_allowed(connection, scope, request.mart, spec)
        if request.match is not None:
            require_usable(request.mart, request.match)
        check = Check(connection, scope, request.mart, spec)
        may_create = request.match is None or request.match.policy != "update_only"
        is_new = request.verb == "create" and may_create
        return check.checked(request.values, request.custom, is_new=is_new)


def call_of(warehouse: Warehouse, scope: Scope, request: WriteRequest) -> dict[str, Any]:
    """The call that a request makes: method, path, body, and tokens of the day's budget.

    With a match that is found another call is made, that of an update.

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
    return {
        "system": scope.system,
        "method": spec.method,
        "path": spec.path.format(id=remote_id, parent=request.parent_remote_id),
        "body": final_body(spec, done.body, {}, notify=request.notify),
        "tokens": spec.tokens,
        "matched": None if remote_id is None else f"{scope.system}:{remote_id}",
    }
