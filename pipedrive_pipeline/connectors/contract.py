"""The interface between a connector and the engine: entities as data, pages, cursors, credentials.

A connector is data plus few functions. Its cursor state is JSON that only the connector reads: a
time for one system, an opaque token for the next, nothing for a third. The engine stores it when,
and only when, the whole walk is committed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import count
from typing import Literal, Protocol

from msgspec import Raw
from pydantic import SecretStr

Record = dict[str, Raw]
"""One record as sent: each top-level key with its JSON text, undecoded."""

CursorState = Mapping[str, str | int | None]
"""Where the next incremental walk begins, in the connector's own words. Small, JSON.

People are shown its value ``watermark`` where it has one: up to when changes were read.
"""


@dataclass(frozen=True)
class Window:
    """A part of a read of everything: records changed in it, and how far it was read."""

    since: str | None = None  # inclusive, in the connector's own words; None: no bound
    until: str | None = None  # exclusive; None: no bound
    cursor: str | None = None  # of its next page, as the source sent it; None begins the window
    is_read: bool = False


@dataclass(frozen=True)
class Resume:
    """Where a walk over everything goes on: its windows cover everything, in any order."""

    windows: tuple[Window, ...]
    state: CursorState  # for what the walk will commit; in the connector's own words


_numbers = count(1)


def next_number() -> int:
    """A number greater than all before it in this process.

    Requests are ordered by it, because machine clocks differ and go back. Other processes need no
    part in it: one tenant and system are read by one process at a time, under the tenant's lock.
    """
    return next(_numbers)  # one bytecode instruction of CPython, so two threads never get the same


class ColumnType(StrEnum):
    """How a declared key is stored in raw."""

    BIGINT = "bigint"
    NUMERIC = "numeric"
    TEXT = "text"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamptz"
    JSON = "jsonb"


@dataclass(frozen=True)
class Column:
    """One declared key of an entity. Keys that are not declared land in raw's ``extra``."""

    name: str
    type: ColumnType
    description: str


@dataclass(frozen=True)
class ChangedSince:
    """An incremental cursor by time of change; ``column`` also tells which version is newer."""

    column: str
    overlap: timedelta


@dataclass(frozen=True)
class OpaqueToken:
    """An incremental cursor that is a token of the source, valid only after the last page."""

    expires: bool


@dataclass(frozen=True)
class Snapshot:
    """No cursor: each read is complete, and a key that is absent is gone."""


@dataclass(frozen=True)
class Entity:
    """One kind of record: everything the engine needs to read and store it."""

    name: str  # also the raw table's name
    key: Column  # unique, never null
    columns: tuple[Column, ...]  # without the key
    cursor: ChangedSince | OpaqueToken | Snapshot
    tokens_per_page: int  # of the day's budget
    records_per_page: int
    description: str
    scopes: tuple[str, ...] = ()  # any one of them allows the read

    @property
    def version_column(self) -> str | None:
        """The column whose greater value is the newer version of a record; None if none is."""
        return self.cursor.column if isinstance(self.cursor, ChangedSince) else None


@dataclass(frozen=True)
class Tombstone:
    """A record that the source itself reports as gone."""

    id: str
    reason: Literal["deleted", "merged", "invisible"]
    merged_into: str | None = None


RecordStatus = Literal["live", "deleted", "invisible"]
"""The state of one record at the source; ``invisible``: the connected user may not see it."""


@dataclass(frozen=True)
class MisfitEntry:
    """An entry of a list that is no record, such as a null."""

    place: int  # in its list, from 1
    json_text: bytes


@dataclass(frozen=True)
class Page:
    """One answer with records. ``commit`` is on the last page of a walk, and may be None there.

    ``sent`` and ``arrived`` come from `next_number`: taken before the request that was answered was
    sent, and after its whole answer had arrived. They decide which of two versions is newer.
    """

    records: list[Record]
    sent: int
    arrived: int
    tombstones: tuple[Tombstone, ...] = ()
    is_last: bool = False
    commit: CursorState | None = None
    resume: Resume | None = None  # of a walk over everything: where it may go on after this page
    size_bytes: int = 0  # of the answer's body, so that memory can be bounded
    mended_count: int = 0  # values that were no JSON (NaN, lone surrogates) and came as strings
    misfits: tuple[MisfitEntry, ...] = ()  # set aside: they are in no record


@dataclass(frozen=True)
class Credential:
    """What a call is signed with. Its secret is masked in every text form."""

    kind: Literal["oauth", "api_token"]
    secret: SecretStr
    base_url: str  # https://acme.pipedrive.com, without path
    generation: int = 0  # grows with each refresh, to distinguish a refused one from a newer one


@dataclass(frozen=True)
class Account:
    """Whose data a credential opens."""

    company_id: str
    company_name: str
    company_domain: str
    user_id: str
    user_name: str
    is_admin: bool | None = None  # None where the source does not say


@dataclass(frozen=True)
class ApiCall:
    """One finished HTTP call, for the meter. Holds no query value and no secret."""

    kind: str  # "list persons"
    tokens: int
    status: int | None  # None: no answer
    daily_limit: int | None = None  # tokens a day, where the source tells
    daily_left: int | None = None


class Lender(Protocol):
    """Gives a usable credential; given a refused one, it gives a newer one or raises.

    It may block, on a database lock or a refresh: it is called in a worker thread.
    """

    def __call__(self, refused: Credential | None = None) -> Credential:
        """A usable credential; never the refused one."""
        ...


@dataclass(frozen=True)
class Access:
    """What a connector may use on behalf of one tenant."""

    tenant: str  # for messages
    lend: Lender
    allowed_hosts: tuple[str, ...]
    on_call: Callable[[ApiCall], None]  # the meter, on the loop's thread; may raise to stop the run
    # Called with a call's kind and tokens before each attempt; raises to prevent it.
    before_call: Callable[[str, int], None] = lambda _kind, _tokens: None
    now: Callable[[], datetime] | None = None  # this machine's time; None: the connector's clock


@dataclass(frozen=True)
class AuthScheme:
    """How a system hands out tokens, as data; `vault` and `connect` act on it."""

    kind: Literal["oauth2_code", "static_token"]
    authorize_path: str = ""
    token_path: str = ""
    revoke_path: str = ""
    authorize_params: tuple[tuple[str, str], ...] = ()  # fixed ones, such as response_type, scope
    client_auth: Literal["basic", "body"] = "basic"
    pkce: Literal["required", "optional", "off"] = "off"
    scope_separator: str = ","
    scopes_needed: tuple[str, ...] = ()
    base_url_fact: str = "api_domain"  # the key of the token answer that holds the API's host
    default_lifetime_seconds: int = 300  # where the answer does not say


class Source(Protocol):
    """One tenant's records in one system, open for reading."""

    def pages(
        self,
        entity: Entity,
        state: CursorState | None,
        resume: Resume | None = None,
    ) -> AsyncIterator[Page]:
        """Yield one walk, page by page; the last one carries the state of the next walk.

        Args:
            entity: one of the connector's own ``entities``.
            state: what a former walk committed; ``None`` reads everything.
            resume: where a walk over everything was broken off, from its last committed page.

        Yields:
            At least one page. A record changed during the walk may come twice, never not at all.

        Raises:
            ReauthNeeded, ScopeMissing: a person must act.
            BudgetSpent: today's budget is used up.
            SourceUnavailable: no usable answer within the attempts and the time allowed.
            SourceBroke: the source broke its own contract; the walk cannot be complete.
            IncompleteRead: the list ended although it must go on.
            StateExpired: nothing can be read from this state; walk again with state None.
        """
        ...

    async def records(self, entity: Entity, ids: list[str]) -> list[Page]:
        """The answers with the records of these ids; ids unknown to the source are absent."""
        ...

    async def record_statuses(self, entity: Entity, ids: list[str]) -> dict[str, RecordStatus]:
        """What became of records that `records` did not give, by id; costs a call each."""
        ...

    async def size_hint(self, entity: Entity) -> int | None:
        """At least as many records as there are, for one call; None where the source tells none."""
        ...

    async def account(self) -> Account:
        """Whose data this is."""
        ...


class Connector(Protocol):
    """One system. Opening it does no I/O; the first call does."""

    @property
    def key(self) -> str:
        """The system's name in tables, routes and settings: ``pipedrive``."""
        ...

    @property
    def label(self) -> str:
        """The system's name for people."""
        ...

    @property
    def entities(self) -> Mapping[str, Entity]:
        """Every kind of record it reads, by name, in the order in which they are read."""
        ...

    @property
    def auth(self) -> AuthScheme:
        """How it hands out tokens."""
        ...

    def open(self, access: Access) -> AbstractAsyncContextManager[Source]:
        """A source for one tenant; closes its connections at the end of the block."""
        ...


def missing_scopes(entities: Iterable[Entity], granted: Iterable[str]) -> tuple[str, ...]:
    """The scopes without which an entity cannot be read; any one of an entity's own is enough.

    ``contacts:full`` allows what ``contacts:read`` does, so that comparing with
    `AuthScheme.scopes_needed` by name would turn a wider consent away.
    """
    granted_scopes = frozenset(granted)
    wanted = (entity.scopes for entity in entities if entity.scopes)
    return tuple(dict.fromkeys(any_of[0] for any_of in wanted if granted_scopes.isdisjoint(any_of)))
