"""Pipedrive as a declaration, and the source that reads it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from pipedrive_pipeline.connectors.answers import HttpAnswer, SourceCall
from pipedrive_pipeline.connectors.contract import (
    Access,
    Account,
    Audience,
    AuthScheme,
    Budget,
    Children,
    ColumnType,
    CursorState,
    Entity,
    Page,
    Record,
    RecordStatus,
    Resume,
    Source,
    System,
)
from pipedrive_pipeline.connectors.http import DEFAULT_LIMITS, Client
from pipedrive_pipeline.connectors.jsontext import NotReadable
from pipedrive_pipeline.connectors.pipedrive.dialect import PipedriveDialect
from pipedrive_pipeline.connectors.pipedrive.endpoints import (
    ME_TOKENS,
    PAGE_LIMIT,
    Endpoint,
    RecordList,
)
from pipedrive_pipeline.connectors.pipedrive.entities import ENDPOINTS, ENTITIES
from pipedrive_pipeline.connectors.pipedrive.envelope import READERS, ListPage, single
from pipedrive_pipeline.connectors.pipedrive.field_types import FIELD_TYPES
from pipedrive_pipeline.connectors.pipedrive.records_by_id import children, picked, record_status
from pipedrive_pipeline.connectors.pipedrive.search import SEARCH
from pipedrive_pipeline.connectors.pipedrive.walks import ListWalk
from pipedrive_pipeline.connectors.pipedrive.webhooks import WEBHOOKS
from pipedrive_pipeline.connectors.pipedrive.writer import opener as writer_opener
from pipedrive_pipeline.connectors.pipedrive.writes import WRITES
from pipedrive_pipeline.connectors.transport import SYSTEM_CLOCK, Clock, Limits

# Scopes are chosen on the app in Pipedrive's Developer Hub; the authorize address carries none.
PIPEDRIVE_OAUTH = AuthScheme(
    kind="oauth",
    oauth_url="https://oauth.pipedrive.com",
    authorize_path="/oauth/authorize",
    token_path="/oauth/token",  # noqa: S106 - a path
    revoke_path="/oauth/revoke",
    client_auth="basic",
    scope_separator=",",
    scopes_needed=("base",),  # the others follow from the entities that are read
    api_url_key="api_domain",
    sends_uninstall_notice=True,
)
DAILY_TOKENS = 30_000  # a company's on the smallest plan with one seat


@dataclass(frozen=True)
class PipedriveSource:
    """One company's records, as its connected user may see them."""

    client: Client
    tenant: str
    now: Callable[[], datetime]

    def pages(
        self,
        entity: Entity,
        state: CursorState | None,
        resume: Resume | None = None,
    ) -> AsyncGenerator[Page, None]:
        """See `contract.Source.pages`."""
        return ListWalk(
            self.client,
            self.tenant,
            ENDPOINTS[entity.name],
            state=state,
            resume=resume,
            now=self.now(),
        ).pages()

    async def records(self, entity: Entity, ids: list[str]) -> list[Page]:
        """See `contract.Source.records`; of lists without single records, all are read."""
        endpoint = ENDPOINTS[entity.name]
        wanted = list(dict.fromkeys(ids))
        if isinstance(entity.read, Children):
            return await children(self.client, endpoint, wanted)
        if endpoint.takes_ids or endpoint.get_tokens is not None:
            return await picked(self.client, endpoint, wanted)
        return await self._records_of_whole(entity, frozenset(wanted)) if wanted else []

    async def record_statuses(self, entity: Entity, ids: list[str]) -> dict[str, RecordStatus]:
        """See `contract.Source.record_statuses`; each record costs a tenth of a page."""
        endpoint = ENDPOINTS[entity.name]
        return {
            record_id: await record_status(self.client, endpoint, record_id)
            for record_id in dict.fromkeys(ids)
        }

    async def size_hint(self, entity: Entity) -> int | None:
        """See `contract.Source.size_hint`; ids count up from 1, so that the highest is a bound.

        Of records whose ids are no numbers, the lists are probed at ever greater distances.
        """
        endpoint = ENDPOINTS[entity.name]
        if endpoint.paging == "offset" and entity.key.type is ColumnType.TEXT:
            return sum([await self._length_bound(endpoint, each) for each in endpoint.lists])
        if entity.key.type is not ColumnType.BIGINT or endpoint.get_tokens is None:
            return None
        order: dict[str, str | int] = {"sort_by": "id", "sort_direction": "desc", "limit": 1}
        if endpoint.paging == "offset":
            order = {"sort": "id DESC", "limit": 1}
        read = partial(_highest_id, READERS[endpoint.paging])
        highest = 0
        for each in endpoint.lists:
            params = {**dict(each.params), **order}
            call = SourceCall(f"size {entity.name}", each.path, each.tokens, params)
            highest = max(highest, await self.client.fetch(call, read))
        return highest

    async def _length_bound(self, endpoint: Endpoint, each: RecordList) -> int:
        """A number that a list's length does not exceed: at most twice the length, or one page."""
        read = partial(_is_empty, READERS[endpoint.paging])
        start = PAGE_LIMIT
        while True:
            params: dict[str, str | int] = {**dict(each.params), "start": start, "limit": 1}
            call = SourceCall(f"size {endpoint.spec.name}", each.path, each.tokens, params)
            if await self.client.fetch(call, read):
                return start
            start *= 2

    async def account(self) -> Account:
        """See `contract.Source.account`."""
        return await self.client.fetch(SourceCall("users/me", "/v1/users/me", ME_TOKENS), _account)

    async def _records_of_whole(self, entity: Entity, wanted: frozenset[str]) -> list[Page]:
        """The pages of a read of everything, each with the wanted records alone."""

        def is_wanted(record: Record) -> bool:
            key = record.get(entity.key.name)
            return key is not None and str(msgspec.json.decode(key)) in wanted

        return [
            replace(page, records=[record for record in page.records if is_wanted(record)])
            async for page in self.pages(entity, None)
        ]


def opener(
    *, limits: Limits = DEFAULT_LIMITS, clock: Clock = SYSTEM_CLOCK
) -> Callable[[Access], AbstractAsyncContextManager[Source]]:
    """The ``open`` of the declaration; tests pass smaller limits and a clock of their own."""

    @asynccontextmanager
    async def opened(access: Access) -> AsyncIterator[Source]:
        async with Client(PipedriveDialect(), access, limits=limits, clock=clock) as client:
            yield PipedriveSource(client, access.tenant, access.now or clock.now)

    return opened


def _highest_id(read: Callable[[HttpAnswer], ListPage], answer: HttpAnswer) -> int:
    """The greatest id of a list's page; 0 of an empty one."""
    try:
        return max((int(bytes(record["id"])) for record in read(answer).records), default=0)
    except (KeyError, ValueError):
        raise NotReadable("a record has no whole number as its id") from None


def _is_empty(read: Callable[[HttpAnswer], ListPage], answer: HttpAnswer) -> bool:
    """True of a page without records."""
    return not read(answer).records


def _account(answer: HttpAnswer) -> Account:
    """Whose data the token opens; the numbers tell one company and user from the next."""
    facts = {key: msgspec.json.decode(raw) for key, raw in single(answer).items()}
    if not facts.get("company_id") or not facts.get("id"):
        raise NotReadable("the answer does not say whose account it is")
    return Account(
        company_id=str(facts["company_id"]),
        company_name=str(facts.get("company_name") or ""),
        company_domain=str(facts.get("company_domain") or ""),
        user_id=str(facts["id"]),
        user_name=str(facts.get("name") or ""),
        is_admin=_is_admin(facts.get("access")),
        country=str(facts.get("company_country") or ""),
    )


def _is_admin(access: object) -> bool | None:
    """Whether the user administers the sales app, whose records are read; None if unknown."""
    if not isinstance(access, list):
        return None
    grants = [grant for grant in access if isinstance(grant, dict)]
    of_sales = [grant for grant in grants if grant.get("app") == "sales"]
    return any(grant.get("admin") is True for grant in of_sales or grants)


# Values of visible_to. On plans with visibility groups 3 is the owner's group and 5 also the groups
# below it, which are not read: they are left out. On other plans all users are in one group.
AUDIENCES: Final[Mapping[str, Audience]] = {"3": "group", "5": "group", "7": "everybody"}

PIPEDRIVE = System(
    key="pipedrive",
    label="Pipedrive",
    entities=tuple(ENTITIES.values()),
    auth=(PIPEDRIVE_OAUTH, AuthScheme(kind="api_token")),
    hosts=("*.pipedrive.com",),
    open=opener(),
    budget=Budget(DAILY_TOKENS),
    field_types=FIELD_TYPES,
    audiences=AUDIENCES,
    webhooks=WEBHOOKS,
    writes=WRITES,
    open_writer=writer_opener(),
    search=SEARCH,
)
