"""A write as a row of `integration.outbox`, and what it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.connectors.writing import Body, Verb
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant

State = Literal["intended", "sending", "written", "done", "refused", "conflict"]
SETTLED: Final = ("done", "refused")


@dataclass(frozen=True)
class Intent:
    """A write that was checked and is to be done."""

    scope: Scope
    mart: str
    verb: Verb
    body: Body
    values: Mapping[str, Any]  # by column of the mart
    who: str
    request_hash: str
    remote_id: str | None = None
    parent_remote_id: str | None = None
    idempotency_key: str | None = None
    expected_version: str | None = None
    is_async: bool = False
    match: Mapping[str, str] | None = None  # see `matching.Match`
    notify: bool = False  # those who take part are to be invited
    # What a new record is made from, where that is more than body and values.
    new_body: Body | None = None
    new_values: Mapping[str, Any] | None = None

    def stored(self) -> Body:
        """As `WriteEntry.body` holds it."""
        body: Body = {"call": self.body, "values": dict(self.values), "notify": self.notify}
        if self.new_body is not None and self.new_body != self.body:
            body["new"] = {"call": self.new_body, "values": dict(self.new_values or {})}
        return body


@dataclass(frozen=True)
class WriteEntry:
    """A row of the outbox."""

    id: UUID
    tenant_id: str
    system: str
    company_id: str | None
    mart: str
    verb: Verb
    remote_id: str | None
    parent_remote_id: str | None
    idempotency_key: str | None
    request_hash: str
    requested_by: str
    is_async: bool
    state: State
    body: Body | None
    sent_columns: list[str]
    expected_version: str | None
    match: dict[str, str] | None
    attempts: int
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    next_attempt_at: datetime
    status: int | None
    answer: dict[str, Any] | None
    created_at: datetime
    settled_at: datetime | None

    @property
    def scope(self) -> Scope:
        """Whose write it is."""
        return Scope(Tenant(self.tenant_id), self.system)

    @property
    def call_body(self) -> Body:
        """What is sent; empty once the write is settled."""
        return dict(self._effective_body.get("call", {}))

    @property
    def values(self) -> dict[str, Any]:
        """What the request says, by column of the mart."""
        return dict(self._effective_body.get("values", {}))

    @property
    def _effective_body(self) -> Body:
        """The part of the body that holds for what is done now: a create may say more."""
        body = self.body or {}
        effective: Body = body.get("new", body) if self.verb == "create" else body
        return effective

    @property
    def notify(self) -> bool:
        """Whether those who take part are to be invited; False once the write is settled."""
        return bool((self.body or {}).get("notify"))

    @property
    def is_settled(self) -> bool:
        """True if nothing is left to be done."""
        return self.state in SETTLED


def read_entry(connection: psycopg.Connection, query: str, values: Any) -> WriteEntry | None:
    """The row that a query with `COLUMNS` gives; None if it gives none."""
    cursor = connection.cursor(row_factory=class_row(WriteEntry))
    return cursor.execute(query.encode(), values).fetchone()


COLUMNS: Final = """
    outbox.id,
    outbox.tenant_id,
    outbox.system,
    outbox.company_id,
    outbox.mart,
    outbox.verb,
    outbox.remote_id,
    outbox.parent_remote_id,
    outbox.idempotency_key,
    outbox.request_hash,
    outbox.requested_by,
    outbox.is_async,
    outbox.state,
    outbox.body,
    outbox.sent_columns,
    outbox.expected_version,
    outbox.match,
    outbox.attempts,
    outbox.first_sent_at,
    outbox.last_sent_at,
    outbox.next_attempt_at,
    outbox.status,
    outbox.answer,
    outbox.created_at,
    outbox.settled_at
"""
