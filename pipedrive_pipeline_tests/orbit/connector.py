"""Orbit as a declaration, and the source that reads it. Importing this module registers it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw

from pipedrive_pipeline.connectors.answers import HttpAnswer, RateLimits, SourceCall, Verdict
from pipedrive_pipeline.connectors.contract import (
    Access,
    Account,
    AuthScheme,
    Children,
    Column,
    ColumnType,
    Cost,
    Credential,
    CursorState,
    Entity,
    FieldType,
    OpaqueToken,
    Page,
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
from pipedrive_pipeline.connectors.registry import register
from pipedrive_pipeline.connectors.writing import Writer
from pipedrive_pipeline.errors import SourceBroke
from pipedrive_pipeline_tests.orbit.writes import WRITES, OrbitWriter

KEY = Column("key", ColumnType.TEXT, "Orbit's key.")
TIMES = (
    Column("made", ColumnType.TIMESTAMP, "When it was made."),
    Column("touched", ColumnType.TIMESTAMP, "When it was last changed."),
)
PAGE_ROWS = 5


def _text(name: str, description: str) -> Column:
    return Column(name, ColumnType.TEXT, description)


USERS = Entity(
    name="users",  # Pipedrive has an entity of this name, too
    label="Users",
    description="Colleagues.",
    key=KEY,
    columns=(
        _text("name", "Name."),
        _text("mail", "E-mail address."),
        Column("active", ColumnType.BOOLEAN, "Whether the user may sign in."),
        *TIMES,
    ),
    read=Snapshot(),
    cost=Cost(1, PAGE_ROWS),
    is_required=True,
    personal=("mail",),
    scopes=("users.read",),
)
PROPERTIES = Entity(
    name="properties",
    label="Properties",
    description="Definitions of the custom fields of accounts and people.",
    key=_text("code", "Code, the key of a value in `props`."),
    columns=(
        _text("record", "Which records have it: accounts or people."),
        _text("title", "Name."),
        _text("kind", "Type: text, number or choice."),
        Column("choices", ColumnType.JSON, "Labels by id."),
        Column("writable", ColumnType.BOOLEAN, "Whether its values can be set over the API."),
        *TIMES,
    ),
    read=Snapshot(),
    cost=Cost(1, PAGE_ROWS),
    is_required=True,
    scopes=("crm.read",),
)
ACCOUNTS = Entity(
    name="accounts",
    label="Accounts",
    description="Companies.",
    key=KEY,
    columns=(
        _text("title", "Name."),
        _text("town", "Town."),
        _text("owner", "Key of the user who owns it."),
        Column("props", ColumnType.JSON, "Values of custom fields by code."),
        *TIMES,
    ),
    read=OpaqueToken(),
    cost=Cost(1, PAGE_ROWS),
    defined_by="properties",
    custom_values="props",
    is_required=True,
    scopes=("crm.read",),
)
PEOPLE = Entity(
    name="people",
    label="People",
    description="People.",
    key=KEY,
    columns=(
        _text("given", "First name."),
        _text("family", "Last name."),
        _text("mail", "E-mail address."),
        _text("account", "Key of the account that the person belongs to."),
        _text("owner", "Key of the user who owns it."),
        Column("props", ColumnType.JSON, "Values of custom fields by code."),
        *TIMES,
    ),
    read=OpaqueToken(),
    cost=Cost(1, PAGE_ROWS),
    defined_by="properties",
    custom_values="props",
    is_required=True,
    personal=("mail",),
    scopes=("people.read",),
)
NOTES = Entity(
    name="notes",
    label="Notes",
    description="Notes about an account.",
    key=KEY,
    columns=(
        _text("account", "Key of the account."),
        _text("text", "Text."),
        *TIMES,
    ),
    read=Children(of="accounts", column="account", batch=2),
    cost=Cost(1, PAGE_ROWS),
    personal=("text",),
    scopes=("crm.read",),
)
CAMPAIGNS = Entity(
    name="campaigns",
    label="Campaigns",
    description="Campaigns; some plans have none.",
    key=KEY,
    columns=(_text("title", "Name."), *TIMES),
    read=Snapshot(),
    cost=Cost(1, PAGE_ROWS),
    scopes=("crm.read",),
)
MEETINGS = Entity(
    name="meetings",
    label="Meetings",
    description="Meetings with an account.",
    key=KEY,
    columns=(
        _text("title", "Subject."),
        _text("day", "Day, YYYY-MM-DD."),
        _text("account", "Key of the account."),
        *TIMES,
    ),
    read=Snapshot(),
    cost=Cost(1, PAGE_ROWS),
    scopes=("crm.read",),
)
ENTITIES = (USERS, PROPERTIES, ACCOUNTS, PEOPLE, NOTES, CAMPAIGNS, MEETINGS)


class _Removed(msgspec.Struct):
    key: str
    why: str
    into: str | None = None


class _Body(msgspec.Struct):
    items: list[dict[str, Raw]]
    removed: list[_Removed] = []
    next: str | None = None
    sync: str | None = None


_read_body = JsonReader(_Body)
_read_facts = JsonReader(dict[str, dict[str, Any]])


def _page(answer: HttpAnswer) -> tuple[_Body, Page]:
    body, mended = _read_body(answer.body)
    gone = tuple(_tombstone(removed) for removed in body.removed)
    return body, Page(
        body.items,
        answer.sent,
        answer.arrived,
        gone,
        size_bytes=len(answer.body),
        mended_count=mended,
    )


def _tombstone(removed: _Removed) -> Tombstone:
    if removed.why == "merged":
        return Tombstone(removed.key, "merged", removed.into)
    return Tombstone(removed.key, "deleted")


@dataclass(frozen=True)
class OrbitDialect:
    """What Orbit's statuses mean; it says nothing about limits."""

    system: str = "orbit"
    label: str = "Orbit"
    burst_window_seconds: float = 1.0

    def signature(self, credential: Credential) -> Mapping[str, str]:
        """See `Dialect`."""
        return {"authorization": f"Bearer {credential.secret.get_secret_value()}"}

    def verdict(self, answer: HttpAnswer) -> Verdict:
        """See `Dialect`."""
        if answer.status == 200:
            return Verdict.READ
        if answer.status == 403:
            return Verdict.SCOPE_MISSING
        by_status = {401: Verdict.RENEW, 429: Verdict.SLOW_DOWN}
        trouble = Verdict.TROUBLE if answer.status >= 500 else Verdict.REFUSED
        return by_status.get(answer.status, trouble)

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
class OrbitSource:
    """One company's records."""

    client: Client

    async def pages(
        self,
        entity: Entity,
        state: CursorState | None,
        resume: Resume | None = None,
    ) -> AsyncGenerator[Page, None]:
        """See `contract.Source.pages`; a walk over everything always starts at its beginning."""
        del resume
        params: dict[str, str | int] = {"since": str(state["token"])} if state else {}
        while True:
            body, page = await self._listed(entity, params)
            if body.next is None:
                yield replace(page, is_last=True, commit=_commit(entity, body))
                return
            yield page
            params = {"cursor": body.next}

    async def records(self, entity: Entity, ids: list[str]) -> list[Page]:
        """See `contract.Source.records`."""
        if not ids:
            return []
        texts = ",".join(quote(key, safe="") for key in dict.fromkeys(ids))
        is_list_of_parents = isinstance(entity.read, Children)
        path = f"/v3/{entity.name}" if is_list_of_parents else f"/v3/{entity.name}/batch"
        params = {"accounts" if is_list_of_parents else "keys": texts}
        call = SourceCall(f"pick {entity.name}", path, 1, params)
        return [(await self.client.fetch(call, _page))[1]]

    async def record_statuses(self, entity: Entity, ids: list[str]) -> dict[str, RecordStatus]:
        """See `contract.Source.record_statuses`; Orbit says only whether a record is there."""
        keys = {
            str(msgspec.json.decode(record[entity.key.name]))
            for page in await self.records(entity, ids)
            for record in page.records
        }
        return {key: "live" if key in keys else "deleted" for key in ids}

    async def size_hint(self, entity: Entity) -> int | None:
        """See `contract.Source.size_hint`; Orbit tells no number."""
        del entity
        return None

    async def account(self) -> Account:
        """See `contract.Source.account`."""
        return await self.client.fetch(SourceCall("me", "/v3/me", 1), _account)

    async def _listed(self, entity: Entity, params: Mapping[str, str | int]) -> tuple[_Body, Page]:
        call = SourceCall(f"list {entity.name}", f"/v3/{entity.name}", 1, params)
        try:
            return await self.client.fetch(call, _page)
        except SourceRefused as error:
            if error.status != 410 or "since" not in params:
                raise
            raise StateExpired(f"Orbit no longer knows the token of {entity.name}.") from error


def _commit(entity: Entity, body: _Body) -> CursorState | None:
    """The state that the next walk begins from, of the last page."""
    if not isinstance(entity.read, OpaqueToken):
        return None
    if body.sync is None:
        raise SourceBroke(f"the last page of {entity.name} holds no token.")
    return {"token": body.sync}


def _account(answer: HttpAnswer) -> Account:
    facts = _read_facts(answer.body)[0]
    user, company = facts["user"], facts["company"]
    return Account(
        company_id=str(company["key"]),
        company_name=company["title"],
        company_domain="",
        user_id=user["key"],
        user_name=user["name"],
    )


@asynccontextmanager
async def _opened(access: Access) -> AsyncIterator[Source]:
    async with Client(OrbitDialect(), access) as client:
        yield OrbitSource(client)


@asynccontextmanager
async def _opened_writer(access: Access) -> AsyncIterator[Writer]:
    async with Client(OrbitDialect(), access) as client:
        yield OrbitWriter(client)


ORBIT = register(
    System(
        key="orbit",
        label="Orbit",
        entities=ENTITIES,
        field_types={
            "text": FieldType("text"),
            "number": FieldType("double"),
            "choice": FieldType("choice"),
        },
        auth=(
            AuthScheme(
                kind="oauth",
                oauth_url="https://connect.orbit.example",
                authorize_path="/connect/authorize",
                token_path="/connect/token",
                revoke_path="/connect/revoke",
                authorize_params=(("response_type", "code"),),
                client_auth="body",
                has_pkce=True,
                scopes_needed=("crm.read", "people.read", "users.read"),
                sends_scopes=True,
                api_url_key="home",
            ),
        ),
        hosts=("*.orbit.example",),
        open=_opened,
        open_writer=_opened_writer,
        writes=WRITES,
        marts_folder=Path(__file__).parent / "marts",
    )
)
