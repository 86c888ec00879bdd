"""A system that differs from Pipedrive in every respect; it shows that the interface is general.

Ids are text, versions have no time, the cursor of changes is an opaque token that is valid after
the last page only and expires, deletions are reported, and pages are numbered. It represents
Google Calendar, HubSpot and Salesforce in the contract suite.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import msgspec
from msgspec import Raw

from pipedrive_pipeline.connectors.answers import HttpAnswer, RateLimits, SourceCall, Verdict
from pipedrive_pipeline.connectors.contract import (
    Access,
    Account,
    AuthScheme,
    Column,
    ColumnType,
    Cost,
    Credential,
    CursorState,
    Entity,
    OpaqueToken,
    Page,
    Record,
    RecordStatus,
    Resume,
    Snapshot,
    Source,
    System,
    Tombstone,
)
from pipedrive_pipeline.connectors.http import Client
from pipedrive_pipeline.connectors.jsontext import JsonReader
from pipedrive_pipeline.connectors.refusals import SourceRefused, StateExpired
from pipedrive_pipeline.errors import SourceBroke
from pipedrive_pipeline_tests.connectors.scripted import ReceivedRequest, Reply, as_json

PAGE_ENTRIES = 2
TOKEN = "ledger-secret"

ENTRIES = Entity(
    name="entries",
    label="Entries",
    key=Column("ref", ColumnType.TEXT, "Text id."),
    columns=(Column("amount", ColumnType.NUMERIC, "Amount."),),
    read=OpaqueToken(),
    cost=Cost(1, PAGE_ENTRIES),
    description="Entries.",
)
BOOKS = Entity(
    name="books",
    label="Books",
    key=Column("code", ColumnType.TEXT, "Text id."),
    columns=(Column("title", ColumnType.TEXT, "Title."),),
    read=Snapshot(),
    cost=Cost(1, 1000),
    description="Books.",
)


@dataclass
class LedgerScript:
    """The script of its server: a numbered log of changes."""

    log: list[tuple[str, int | None]] = field(default_factory=list)  # a None amount is a deletion
    oldest_kept: int = 0  # a sync token from before is gone

    def put(self, ref: str, amount: int | None) -> None:
        """Book, change or (with None) delete an entry."""
        self.log.append((ref, amount))

    def entries(self) -> dict[str, int]:
        """The truth."""
        return {ref: amount for ref, amount in dict(self.log).items() if amount is not None}

    def __call__(self, request: ReceivedRequest) -> Reply:
        """The answer to one request."""
        if request.headers.get("x-ledger-key") != TOKEN:
            return as_json({"problem": "key"}, 401)
        if request.path == "/me":
            return as_json({"items": [{"ref": "owner"}]})
        if request.path == "/books":
            return as_json({"items": [{"code": "main", "title": "Main book"}]})
        since = int(request.query.get("since", "0"))
        if since < self.oldest_kept and "since" in request.query:
            return as_json({"problem": "token expired"}, 410)
        end = int(request.query.get("end", str(len(self.log))))
        changed = list(dict(self.log[since:end]).items())
        start = int(request.query.get("page", "0")) * PAGE_ENTRIES
        page = changed[start : start + PAGE_ENTRIES]
        is_last = start + PAGE_ENTRIES >= len(changed)
        return as_json(
            {
                "items": [{"ref": ref, "amount": amount} for ref, amount in page if amount],
                "gone": [ref for ref, amount in page if amount is None],
                "more": None if is_last else {"page": start // PAGE_ENTRIES + 1, "end": end},
                "sync_token": str(end) if is_last else None,
            }
        )


class _More(msgspec.Struct):
    page: int
    end: int


class _Body(msgspec.Struct):
    items: list[dict[str, Raw]]
    gone: list[str] = []
    more: _More | None = None
    sync_token: str | None = None


_read = JsonReader(_Body)


def _body(answer: HttpAnswer) -> tuple[_Body, int, int]:
    return _read(answer.body)[0], answer.sent, answer.arrived


@dataclass(frozen=True)
class LedgerDialect:
    """Its own header, its own statuses, no word about limits."""

    system: str = "ledger"
    label: str = "Ledger"
    burst_window_seconds: float = 1.0

    def signature(self, credential: Credential) -> Mapping[str, str]:
        """See `Dialect`."""
        return {"x-ledger-key": credential.secret.get_secret_value()}

    def verdict(self, answer: HttpAnswer) -> Verdict:
        """See `Dialect`."""
        if answer.status == 401:
            return Verdict.RENEW
        return Verdict.READ if answer.status == 200 else Verdict.REFUSED

    def rate_limits(self, _: HttpAnswer) -> RateLimits:
        """See `Dialect`."""
        return RateLimits()

    def is_charged(self, status: int) -> bool:
        """See `Dialect`."""
        return status == 200

    def reason(self, answer: HttpAnswer) -> str:
        """A header that it may send."""
        return str(answer.headers.get("x-reason", ""))


@dataclass(frozen=True)
class LedgerSource:
    """One tenant's ledger."""

    client: Client

    async def pages(
        self,
        entity: Entity,
        state: CursorState | None,
        resume: Resume | None = None,
    ) -> AsyncGenerator[Page, None]:
        """See `contract.Source.pages`; a ledger's walk always starts from the beginning."""
        assert resume is None
        params: dict[str, str | int] = {"since": str(state["token"])} if state else {}
        while True:
            body, sent, arrived = await self._body(entity, params)
            gone = tuple(Tombstone(ref, "deleted") for ref in body.gone)
            page = Page(body.items, sent, arrived, gone)
            if body.more is None:
                token = body.sync_token
                if token is None and isinstance(entity.read, OpaqueToken):
                    raise SourceBroke("the last page holds no sync token.")
                commit = {"token": token} if token else None
                yield replace(page, is_last=True, commit=commit)
                return
            yield page
            params = {**params, "page": body.more.page, "end": body.more.end}

    async def record_statuses(self, entity: Entity, ids: list[str]) -> dict[str, RecordStatus]:
        """See `contract.Source.record_statuses`; a ledger says only whether it holds a record."""
        items = {
            str(msgspec.json.decode(record["ref"]))
            for page in await self.records(entity, ids)
            for record in page.records
        }
        return {ref: "live" if ref in items else "deleted" for ref in ids}

    async def records(self, entity: Entity, ids: list[str]) -> list[Page]:
        """See `contract.Source.records`."""

        def is_wanted(record: Record) -> bool:
            return msgspec.json.decode(record[entity.key.name]) in ids

        return [
            replace(page, records=list(filter(is_wanted, page.records)))
            async for page in self.pages(entity, None)
        ]

    async def size_hint(self, entity: Entity) -> int | None:
        """See `contract.Source.size_hint`."""
        return None if entity is ENTRIES else 1

    async def account(self) -> Account:
        """See `contract.Source.account`."""
        await self.client.fetch(SourceCall("me", "/me", 1), _body)
        return Account("L1", "Ledger", "", "owner", "Owner")

    async def _body(self, entity: Entity, params: dict[str, str | int]) -> tuple[_Body, int, int]:
        try:
            return await self.client.fetch(
                SourceCall(f"list {entity.name}", f"/{entity.name}", 1, params), _body
            )
        except SourceRefused as error:
            if error.status != 410:
                raise
            raise StateExpired("the sync token is too old.") from error


@asynccontextmanager
async def _opened(access: Access) -> AsyncIterator[Source]:
    async with Client(LedgerDialect(), access) as client:
        yield LedgerSource(client)


LEDGER = System(
    key="ledger",
    label="Ledger",
    entities=(BOOKS, ENTRIES),
    auth=(AuthScheme(kind="api_token"),),
    hosts=("*.ledger.example",),
    open=_opened,
)
