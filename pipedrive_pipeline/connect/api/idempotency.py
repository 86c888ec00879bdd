"""`Idempotency-Key`: a repeated call does nothing and gets the first answer again.

The key is written in the transaction that does the work: a server that is killed in the middle
leaves neither, and of two calls at once the second waits for the first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any

import psycopg
from fastapi import Header, Request
from fastapi.responses import JSONResponse
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from pipedrive_pipeline.connect.api import envelope
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.errors import KeyReused

KEPT_HOURS = 24
REPLAYED = {"idempotency-replayed": "true"}
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+$",
        description="Of your choice, new for each call: the same again within a day does nothing "
        "twice and gets the same answer.",
    ),
]


@dataclass(frozen=True)
class FormerAnswer:
    """The answer that the same call got before."""

    status: int
    data: Any


@dataclass(frozen=True)
class Call:
    """A call: its key, if it has one, and a hash of caller, route and body."""

    key: str | None
    request_hash: str

    @classmethod
    def of(cls, request: Request, caller: Caller, key: str | None, body: BaseModel) -> Call:
        """The call of this request."""
        content = (caller.id, request.method, request.url.path, body.model_dump_json())
        return cls(key, hashlib.sha256("\n".join(content).encode()).hexdigest())


def begin(connection: psycopg.Connection, caller: Caller, call: Call) -> FormerAnswer | None:
    """The former answer of this call; None if its work must be done, in this transaction.

    Raises:
        KeyReused: the key came with another request.
    """
    if call.key is None:
        return None
    values = {"tenant": caller.tenant.slug, "key": call.key, "hash": call.request_hash}
    connection.execute(_DELETE_EXPIRED, {**values, "hours": KEPT_HOURS})
    if connection.execute(_CLAIM, values).rowcount:
        return None
    row = connection.execute(_FORMER, values).fetchone()
    if row is None or row[0] != call.request_hash:
        raise KeyReused
    return FormerAnswer(row[1], row[2])


def remember(
    connection: psycopg.Connection, caller: Caller, call: Call, status: int, data: BaseModel
) -> None:
    """Stores the answer; ``data`` must not contain a secret."""
    if call.key is not None:
        values = {"tenant": caller.tenant.slug, "key": call.key}
        connection.execute(
            _STORE, {**values, "status": status, "answer": Jsonb(envelope.as_json(data))}
        )


def replay(request: Request, former: FormerAnswer) -> JSONResponse:
    """The former answer again, marked as such."""
    return envelope.answer(request, former.data, status=former.status, headers=REPLAYED)


_DELETE_EXPIRED = """
delete from integration.idempotency_keys
where idempotency_keys.tenant_id = %(tenant)s
    and idempotency_keys.created_at < now() - make_interval(hours => %(hours)s)
"""
_CLAIM = """
insert into integration.idempotency_keys (tenant_id, idempotency_key, request_hash)
values (%(tenant)s, %(key)s, %(hash)s)
on conflict (tenant_id, idempotency_key) do nothing
"""
_FORMER = """
select
    idempotency_keys.request_hash,
    idempotency_keys.status,
    idempotency_keys.answer
from integration.idempotency_keys
where idempotency_keys.tenant_id = %(tenant)s
    and idempotency_keys.idempotency_key = %(key)s
"""
_STORE = """
update integration.idempotency_keys
set status = %(status)s, answer = %(answer)s
where idempotency_keys.tenant_id = %(tenant)s
    and idempotency_keys.idempotency_key = %(key)s
"""
