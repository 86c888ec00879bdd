"""What can be written in Orbit, and how: otherwise than in Pipedrive wherever systems may differ.

Every new record keeps an id of ours (``tag``), so that a lost create is found by it; keys are
texts; a meeting invites people where the body says so; nothing can be deleted, and there are no
leads and deals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import quote

import msgspec

from pipedrive_pipeline.connectors.answers import HttpAnswer, SourceCall
from pipedrive_pipeline.connectors.http import Client
from pipedrive_pipeline.connectors.jsontext import NotReadable
from pipedrive_pipeline.connectors.writing import (
    Body,
    Operation,
    WriteField,
    WriteSpec,
    WriteTarget,
)

OWNER = WriteField("owner_id", "owner", "reference", refers_to="users")
ACCOUNT = WriteField("customer_id", "account", "reference", refers_to="customers")
ACCOUNTS = WriteSpec(
    "accounts",
    "POST",
    "/v3/accounts",
    1,
    (
        WriteField("name", "title", length_max=80, is_nullable=False),
        WriteField("city", "town"),
        OWNER,
    ),
    required=("name",),
    custom_values="props",
    marker="tag",
    scopes=("crm.read",),
)
PEOPLE = replace(
    ACCOUNTS,
    entity="people",
    path="/v3/people",
    fields=(
        WriteField("first_name", "given"),
        WriteField("last_name", "family"),
        WriteField("email", "mail"),
        ACCOUNT,
        OWNER,
    ),
    required=("last_name",),
    scopes=("people.read",),
)
MEETINGS = replace(
    ACCOUNTS,
    entity="meetings",
    path="/v3/meetings",
    fields=(
        WriteField("subject", "title", is_nullable=False),
        WriteField("due_date", "day", "day"),
        ACCOUNT,
    ),
    required=("subject",),
    custom_values=None,
    invites_by="invite",
)


def _both(mart: str, made: WriteSpec) -> Iterator[tuple[Operation, WriteSpec]]:
    """Yields the create and the update of a mart."""
    yield Operation(mart, "create"), made
    changed = replace(made, method="PATCH", path=f"{made.path}/{{id}}", required=(), marker=None)
    yield Operation(mart, "update"), changed


WRITES = dict(
    (*_both("customers", ACCOUNTS), *_both("contacts", PEOPLE), *_both("activities", MEETINGS))
)


@dataclass(frozen=True)
class OrbitWriter:
    """Writes one company's records."""

    client: Client

    async def send(self, spec: WriteSpec, target: WriteTarget, body: Body) -> str | None:
        """See `writing.Writer.send`."""
        path = spec.path.format(id=quote(target.remote_id or "", safe=""))
        call = SourceCall(f"write {spec.entity}", path, 1, method=spec.method, body=body)
        return await self.client.fetch(call, _key_of)

    async def created(
        self, spec: WriteSpec, target: WriteTarget, body: Body, since: datetime
    ) -> list[str]:
        """See `writing.Writer.created`; by the tag, whatever else was sent."""
        del target, since
        params = {"tag": str(body[spec.marker or ""])}
        call = SourceCall(f"look up {spec.entity}", f"/v3/{spec.entity}/batch", 1, params)
        return await self.client.fetch(call, _keys_of)


class _Written(msgspec.Struct):
    key: str


class _Listed(msgspec.Struct):
    items: list[_Written]


def _key_of(answer: HttpAnswer) -> str:
    try:
        return msgspec.json.decode(answer.body, type=_Written).key
    except msgspec.DecodeError as error:
        raise NotReadable("the answer to a write has no key") from error


def _keys_of(answer: HttpAnswer) -> list[str]:
    try:
        items = msgspec.json.decode(answer.body, type=_Listed).items
    except msgspec.DecodeError as error:
        raise NotReadable("the answer to a look-up has no items") from error
    return [each.key for each in items]
