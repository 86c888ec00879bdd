"""Pipedrive's own search, for a number or an address that `crm` does not have yet.

Source: https://developers.pipedrive.com/docs/api/v1/Persons#searchPersons (read 2026-11). The index
follows a change within seconds, and may still have deleted records.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import msgspec

from pipedrive_pipeline.connectors.answers import HttpAnswer, SourceCall
from pipedrive_pipeline.connectors.contract import Access, RecordRef, Search, Searcher, SearchKind
from pipedrive_pipeline.connectors.http import DEFAULT_LIMITS, Client
from pipedrive_pipeline.connectors.jsontext import JsonReader, NotReadable
from pipedrive_pipeline.connectors.pipedrive.dialect import PipedriveDialect
from pipedrive_pipeline.connectors.transport import SYSTEM_CLOCK, Clock, Limits

PATH = "/api/v2/persons/search"
TOKENS = 20  # of one search
RECORDS_MAX = 10  # a user with more than ten people with one number looks in Pipedrive
FIELD: dict[SearchKind, str] = {"phone": "phone", "email": "email", "domain": "email"}


class _Organization(msgspec.Struct):
    id: int


class _Item(msgspec.Struct):
    id: int
    organization: _Organization | None = None


class _Entry(msgspec.Struct):
    item: _Item


class _Entries(msgspec.Struct):
    items: list[_Entry]


class _Answer(msgspec.Struct):
    success: bool | None = None
    data: _Entries | None = None


_read = JsonReader(_Answer)


@dataclass(frozen=True)
class PipedriveSearch:
    """One company's search, as the connected user may see its records."""

    client: Client

    async def find(self, kind: SearchKind, texts: tuple[str, ...]) -> list[RecordRef]:
        """See `contract.Searcher.find`; organizations have neither numbers nor addresses."""
        for text in texts:
            params: dict[str, str | int] = {
                "term": f"@{text}" if kind == "domain" else text,
                "fields": FIELD[kind],
                "exact_match": "true" if kind == "email" else "false",
                "limit": RECORDS_MAX,
            }
            call = SourceCall("search persons", PATH, TOKENS, params)
            if found := await self.client.fetch(call, _found):
                return found
        return []


def opener(
    *, limits: Limits = DEFAULT_LIMITS, clock: Clock = SYSTEM_CLOCK
) -> Callable[[Access], AbstractAsyncContextManager[Searcher]]:
    """The ``open`` of the declaration; tests pass smaller limits and a clock of their own."""

    @asynccontextmanager
    async def opened(access: Access) -> AsyncIterator[Searcher]:
        async with Client(PipedriveDialect(), access, limits=limits, clock=clock) as client:
            yield PipedriveSearch(client)

    return opened


def _found(answer: HttpAnswer) -> list[RecordRef]:
    """The persons of an answer, and their organizations, each once.

    Raises:
        NotReadable: a web page, no JSON, or another shape than documented.
    """
    if answer.is_html:
        raise NotReadable(f"a web page came instead of data (status {answer.status})")
    body, _ = _read(answer.body)
    if body.success is not True or body.data is None:
        raise NotReadable("status 200, but the body does not say success: true with data")
    refs: list[RecordRef] = []
    for item in (entry.item for entry in body.data.items):
        if item.organization is not None:
            refs.append(RecordRef("organizations", str(item.organization.id)))
        refs.append(RecordRef("persons", str(item.id)))
    return list(dict.fromkeys(refs))


SEARCH = Search(open=opener(), tokens=TOKENS)
