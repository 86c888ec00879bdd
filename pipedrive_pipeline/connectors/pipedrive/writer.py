"""Sends what `writes.py` declares, and finds a record whose create was not answered.

Source: https://developers.pipedrive.com/docs/api/v1 (read 2026-08).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from pipedrive_pipeline.connectors.answers import HttpAnswer, SourceCall
from pipedrive_pipeline.connectors.contract import Access, Record
from pipedrive_pipeline.connectors.http import DEFAULT_LIMITS, Client
from pipedrive_pipeline.connectors.jsontext import NotReadable
from pipedrive_pipeline.connectors.pipedrive.dialect import PipedriveDialect
from pipedrive_pipeline.connectors.pipedrive.endpoints import PAGE_LIMIT
from pipedrive_pipeline.connectors.pipedrive.entities import ENDPOINTS
from pipedrive_pipeline.connectors.pipedrive.envelope import READERS, STAMP, single
from pipedrive_pipeline.connectors.refusals import SourceRefused
from pipedrive_pipeline.connectors.transport import SYSTEM_CLOCK, Clock, Limits
from pipedrive_pipeline.connectors.writing import Body, Writer, WriteSpec, WriteTarget
from pipedrive_pipeline.errors import SourceBroke

GONE: Final = frozenset({404, 410})
PAGES_MAX: Final = 40  # of what was made since a create: 20,000 records
CLOCK: Final = len("HH:MM")


@dataclass(frozen=True)
class PipedriveWriter:
    """Writes one company's records, as its connected user may."""

    client: Client

    async def send(self, spec: WriteSpec, target: WriteTarget, body: Body) -> str | None:
        """See `writing.Writer.send`."""
        path = spec.path.format(id=target.remote_id, parent=target.parent_remote_id)
        call = SourceCall(
            f"{_verb(spec)} {spec.entity}",
            path,
            spec.tokens,
            method=spec.method,
            body=None if spec.method == "DELETE" else body,
        )
        if spec.method != "DELETE":
            return await self.client.fetch(call, _id_of)
        try:
            await self.client.fetch(call, _succeeded)
        except SourceRefused as error:
            if error.status not in GONE:
                raise
        return target.remote_id

    async def created(
        self, spec: WriteSpec, target: WriteTarget, body: Body, since: datetime
    ) -> list[str]:
        """See `writing.Writer.created`; a list's page costs as much as in a read."""
        found: dict[str, str] = {}
        async for record in self._changed(spec, target, since):
            values = {key: msgspec.json.decode(raw) for key, raw in record.items()}
            made_at = _instant(values.get("add_time"))
            is_young = made_at is not None and made_at >= since.replace(microsecond=0)
            if is_young and _has_all(values, body):
                found[str(values["id"])] = str(values["add_time"])
        return sorted(found, key=lambda record_id: (found[record_id], len(record_id), record_id))

    async def _changed(
        self, spec: WriteSpec, target: WriteTarget, since: datetime
    ) -> AsyncIterator[Record]:
        """Yields the records changed since then; of a list of a parent, all of them."""
        endpoint = ENDPOINTS[spec.entity]
        first = endpoint.lists[0]
        path, paging = first.path, endpoint.paging
        params: dict[str, str | int] = {**dict(first.params), "limit": PAGE_LIMIT}
        if spec.parent is not None:
            path = spec.path.format(parent=target.parent_remote_id)
        elif endpoint.spec.version_column is not None and first.has_since:
            params["updated_since"] = since.astimezone(UTC).strftime(STAMP)
        start = 0
        for _ in range(PAGES_MAX):
            call = SourceCall(f"look up {spec.entity}", path, first.tokens, params)
            page = await self.client.fetch(call, READERS[paging])
            for record in page.records:
                yield record
            if page.next_cursor is None:
                return
            start += len(page.records)
            params |= {"start": start} if paging == "offset" else {"cursor": page.next_cursor}
        raise SourceBroke(f"Pipedrive, look up {spec.entity}: the list does not end; run again.")


def opener(
    *, limits: Limits = DEFAULT_LIMITS, clock: Clock = SYSTEM_CLOCK
) -> Callable[[Access], AbstractAsyncContextManager[Writer]]:
    """The ``open_writer`` of the declaration; tests pass smaller limits and another clock."""

    @asynccontextmanager
    async def opened(access: Access) -> AsyncIterator[Writer]:
        async with Client(PipedriveDialect(), access, limits=limits, clock=clock) as client:
            yield PipedriveWriter(client)

    return opened


def _verb(spec: WriteSpec) -> str:
    return {"POST": "create", "DELETE": "delete"}.get(spec.method, "update")


def _id_of(answer: HttpAnswer) -> str:
    try:
        return str(msgspec.json.decode(single(answer)["id"]))
    except KeyError:
        raise NotReadable("the answer to a write has no id") from None


class _Success(msgspec.Struct):
    success: bool = False


def _succeeded(answer: HttpAnswer) -> None:
    """Returns if a delete succeeded; notes say so with ``data: true``."""
    try:
        is_done = msgspec.json.decode(answer.body, type=_Success).success
    except msgspec.DecodeError as error:
        raise NotReadable("the answer to a delete is no JSON object") from error
    if not is_done:
        raise NotReadable("the answer to a delete does not say success: true")


def _instant(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _has_all(record: dict[str, Any], body: Body) -> bool:
    """True if a record says all that a body says, in the form of answers."""
    custom = record.get("custom_fields") or {}
    return all(_is_same(value, record.get(key, custom.get(key))) for key, value in body.items())


def _is_same(sent: Any, stored: Any) -> bool:
    """True if a stored value is what was sent: numbers may be texts, parts may be added."""
    if sent in (None, "", []):
        return stored in (None, "", [], {})
    if isinstance(sent, dict):
        whole = stored if isinstance(stored, dict) else {"value": stored}
        return all(_is_same(value, whole.get(key)) for key, value in sent.items())
    if isinstance(sent, list):
        entries = stored if isinstance(stored, list) else str(stored).split(",")
        return len(entries) == len(sent) and all(map(_is_same, sent, entries))
    if isinstance(stored, dict):
        return _is_same(sent, stored.get("id", stored.get("value")))
    return _is_same_value(sent, stored)


def _is_same_value(sent: Any, stored: Any) -> bool:
    """The same of two plain values; a time may have got its seconds."""
    if isinstance(sent, bool) or isinstance(stored, bool):
        return bool(sent) == bool(stored)
    if isinstance(sent, int | float) and isinstance(stored, int | float):
        return sent == stored
    one, other = str(sent).strip(), str(stored).strip()
    return one == other or (len(one) == CLOCK and other == f"{one}:00")
