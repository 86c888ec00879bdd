"""The interface between a connector and the engine: systems and entities as data, pages, cursors.

A system is one `System` declaration and the class that its ``open`` yields, a `Source`. The cursor
state is JSON that only the source reads: a time for one system, an opaque token for the next,
nothing for a third. The engine stores it only when the whole walk is committed, and none of a read
of everything that found nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

from msgspec import Raw
from pydantic import SecretStr

from pipedrive_pipeline.connectors.hosts import AllowedHosts
from pipedrive_pipeline.connectors.writing import Operation, Writer, WriteSpec
from pipedrive_pipeline.errors import BadInput

Record = dict[str, Raw]
"""One record as sent: each top-level key with its JSON text, undecoded."""

CursorState = Mapping[str, str | int | None]
"""Where the next incremental walk begins, in the connector's own words. Small, JSON.

People are shown its value ``watermark`` where it has one: up to when changes were read.
"""


@dataclass(frozen=True)
class Window:
    """A part of a walk: records changed in it, and how far it was read."""

    since: str | None = None  # inclusive, in the connector's own words; None: no bound
    # ``since`` of the window that follows. No request is bounded by it: the reader stops where it
    # meets records of that window. None: the window goes on to the end of the list.
    until: str | None = None
    cursor: str | None = None  # of its next page, as the source sent it; None begins the window
    is_read: bool = False
    part: str | None = None  # the list of an entity that has several, in the connector's own words


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


HISTORY_SUFFIX = "_history"


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
    # Of a column that marts read: what each value must be, or it is listed as rejected. Of a jsonb
    # column: a list of e-mail addresses or phone numbers, a list of option ids, the parts of an
    # address, or an amount and its currency; of a text column the others.
    shape: (
        Literal["points", "options", "address", "money", "day", "time_of_day", "duration"] | None
    ) = None


# Columns of a raw history that the engine adds to those of the record, see `Entity.history`.
HISTORY_COLUMNS = (
    Column(
        "history_id", ColumnType.BIGINT, "Grows with each row: the order in which they were read."
    ),
    Column("read_at", ColumnType.TIMESTAMP, "When this version was first loaded."),
    Column("origin", ColumnType.TEXT, "How the version became known: read or webhook."),
    Column("actor_id", ColumnType.TEXT, "The user who made it, where an event told it."),
)


@dataclass(frozen=True)
class ChangedSince:
    """Reads what changed since a time; ``column`` also decides which version is newer."""

    column: str
    overlap: timedelta


@dataclass(frozen=True)
class OpaqueToken:
    """Reads what changed since a token that the source gave after the last page.

    A token may expire: `Source.pages` then raises `StateExpired` and the engine reads everything
    again. Pages report deleted records as tombstones.
    """


@dataclass(frozen=True)
class Snapshot:
    """Reads everything each time; a key that is absent is gone."""


@dataclass(frozen=True)
class Children:
    """Reads lists that belong to records of another entity, by `Source.records` with parents' ids.

    A parent's list is always read whole: an id that is absent from it is gone. An incremental run
    reads the lists of the parents that it read in a new version; a read of everything reads those
    of all parents that are not marked as gone.
    """

    of: str  # the parent entity; it is before this one in `System.entities`
    column: str  # the key or a declared column of this entity that holds the parent's id
    batch: int  # parents in one call of `Source.records`
    # Whether a sweep reads every list again; False where no entry ever changes or is deleted.
    is_swept: bool = True
    # A column of the parent. Only parents that have a value in it have a list worth reading; the
    # list is due when this value changed, and the greatest values come first.
    due_by: str | None = None
    # Of the parent: a column and its value; the lists of such parents come before all others.
    first: tuple[str, str] | None = None
    # Of the tokens that a run may spend; the lists that are left are read by the next runs.
    share: float = 1.0


@dataclass(frozen=True)
class Cost:
    """What a page of an entity costs, and how much it holds."""

    tokens_per_page: int  # of the daily budget; of lists of children: of a call
    records_per_page: int  # at most
    # Of an entity that has more lists than one: tokens of a page of each further one.
    further_lists: tuple[int, ...] = ()
    tokens_unchanged: int | None = None  # of reading no change; None: of one page of each list
    ids_per_call: int = 100  # records that one call of `Source.records` reads

    @property
    def tokens_of_no_change(self) -> int:
        """What an incremental read costs that finds nothing."""
        if self.tokens_unchanged is not None:
            return self.tokens_unchanged
        return self.tokens_per_page + sum(self.further_lists)


@dataclass(frozen=True)
class Entity:
    """One kind of record: everything that the engine needs to read and store it."""

    name: str  # also the raw table's name
    label: str  # for people, in the plural: "Organizations"
    description: str
    key: Column  # unique, never null, of any type but jsonb; above raw it is text
    columns: tuple[Column, ...]  # without the key
    read: ChangedSince | OpaqueToken | Snapshot | Children
    cost: Cost
    defined_by: str | None = None  # the entity that holds the definitions of its fields
    # The declared jsonb column with the values of those fields by key; a value that is not there is
    # looked for among the keys that are not declared.
    custom_values: str = "custom_fields"
    is_required: bool = False  # if False, any refusal (right, plan, 404) sets this entity aside
    is_on_by_default: bool = True  # if False, it is read only where a tenant's settings say so
    # Hours between two incremental reads, unless a tenant's settings name others; None: every sync
    # reads it.
    cycle_hours: int | None = None
    # A boolean column that is true in records which the source lists although they are deleted.
    # Such a record may leave the list unasked.
    gone_column: str | None = None
    personal: tuple[str, ...] = ()  # columns that hold personal data; an erasure searches them
    scopes: tuple[str, ...] = ()  # any one of them allows the read
    # Columns whose former values are kept: a version that differs in one of them is added to the
    # raw table `history_table`.
    history: tuple[str, ...] = ()

    @property
    def history_table(self) -> str:
        """The raw table that keeps the former values of the columns in `history`."""
        return f"{self.name}{HISTORY_SUFFIX}"

    @property
    def history_columns(self) -> tuple[Column, ...]:
        """The columns of the history that come from the record: key, `history`, version."""
        names = dict.fromkeys((*self.history, self.version_column))
        declared = {column.name: column for column in self.columns}
        return (self.key, *(declared[name] for name in names if name is not None))

    @property
    def version_column(self) -> str | None:
        """The column whose greater value is the newer version of a record; None if none is."""
        return self.read.column if isinstance(self.read, ChangedSince) else None

    @property
    def is_swept(self) -> bool:
        """False of lists in which nothing is ever deleted; not all of them are read in one run."""
        return not isinstance(self.read, Children) or self.read.is_swept


@dataclass(frozen=True)
class Tombstone:
    """A record that the source itself reports as gone."""

    id: str
    reason: Literal["deleted", "merged", "converted", "invisible"]
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
    expires_at: datetime | None = None  # None: it does not expire


@dataclass(frozen=True)
class Account:
    """Whose data a credential opens."""

    company_id: str
    company_name: str
    company_domain: str
    user_id: str
    user_name: str
    is_admin: bool | None = None  # None where the source does not say
    country: str = ""  # ISO 3166 code of the company's country; empty where it does not say


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
    allowed_hosts: AllowedHosts
    on_call: Callable[[ApiCall], None]  # the meter, on the loop's thread; may raise to stop the run
    # Called with a call's kind and tokens before each attempt; raises to prevent it.
    before_call: Callable[[str, int], None] = lambda _kind, _tokens: None
    now: Callable[[], datetime] | None = None  # this machine's time; None: the connector's clock


@dataclass(frozen=True)
class AuthScheme:
    """One way to get a credential of a system, as data; `vault` and `connect` act on it.

    ``api_token`` needs no other field: a person enters the token and the address of the account.
    """

    kind: Literal["oauth", "api_token"]  # oauth: the authorization code grant of RFC 6749
    oauth_url: str = ""  # default of `<KEY>_OAUTH_URL`: the origin of the three paths
    authorize_path: str = ""
    token_path: str = ""
    revoke_path: str = ""  # empty: the system has no revocation
    authorize_params: tuple[tuple[str, str], ...] = ()  # fixed ones, such as response_type
    client_auth: Literal["basic", "body"] = "basic"  # where the client's id and secret are sent
    has_pkce: bool = (
        False  # RFC 7636, method S256: challenge in the address, verifier with the code
    )
    scopes_needed: tuple[str, ...] = ()  # besides those of the entities that are read
    sends_scopes: bool = False  # the authorize address asks for ``scopes_needed``
    scope_separator: str = " "  # between scopes, in the address and in the answer
    api_url_key: str = ""  # of the token answer: the origin of the API, such as ``api_domain``
    api_url: str = ""  # the origin of the API where the answer names none
    default_lifetime_seconds: int = 300  # of an access token, where the answer does not say
    # By DELETE on the callback, with the app's id and secret as Basic authentication.
    sends_uninstall_notice: bool = False


class Source(Protocol):
    """One tenant's records in one system, open for reading."""

    def pages(
        self,
        entity: Entity,
        state: CursorState | None,
        resume: Resume | None = None,
    ) -> AsyncGenerator[Page, None]:
        """Yield one walk, page by page; the last one carries the state of the next walk.

        Calls may be under way between two pages: who leaves a walk early closes it.

        Args:
            entity: one of the system's own ``entities``, but none that is read as `Children`.
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
        """The answers with the records of these ids; ids unknown to the source are absent.

        Of an entity that is read as `Children`, ``ids`` are at most ``batch`` ids of parents, and
        the answers hold every child of each.

        Raises:
            As `pages`, except `StateExpired`.
        """
        ...

    async def record_statuses(self, entity: Entity, ids: list[str]) -> dict[str, RecordStatus]:
        """What became of records that `records` did not give, by id; costs a call each."""
        ...

    async def size_hint(self, entity: Entity) -> int | None:
        """At least as many records as there are, for few calls; None if the source tells none."""
        ...

    async def account(self) -> Account:
        """Whose data this is."""
        ...


@dataclass(frozen=True)
class Notice:
    """What one event of a webhook says about one record."""

    key: str  # the same for each delivery of the same event; at most 100 characters
    entity: str  # one of the system's entities
    id: str  # as `Source.records` takes it: of an entity that is read as `Children`, the parent's
    happened_at: datetime | None  # in UTC
    tombstone: Tombstone | None = None  # the event says that the record is deleted or merged
    # The key and the columns of the entity's history, as far as the event tells them; None if it
    # changed none of them.
    version: Record | None = None
    actor_id: str | None = None  # the CRM user who did it
    # Whose record it is, if the event says so: the receiver ignores events of other companies.
    company_id: str | None = None


@dataclass(frozen=True)
class WebhookState:
    """A webhook as the source lists it."""

    id: str
    address: str
    is_active: bool
    trouble: str | None = None  # why the source does not deliver, in plain words; None: it does
    last_delivery_at: datetime | None = None


class WebhookAdmin(Protocol):
    """Makes, lists and deletes one tenant's webhooks at the source."""

    async def create(self, address: str, user: str, password: str) -> str:
        """The id of a new webhook that sends every event to ``address`` with these credentials.

        Nothing is repeated: if the answer is lost, `webhooks` may list a webhook of this address.

        Raises:
            SourceRefused: the source cannot reach the address, or there are too many webhooks.
            SourceBroke, SourceUnavailable, ScopeMissing, ReauthNeeded, BudgetSpent: as
                `Source.pages`.
        """
        ...

    async def webhooks(self) -> list[WebhookState]:
        """The webhooks that the credential may see; those of other programs may be among them."""
        ...

    async def delete(self, webhook_id: str) -> None:
        """Delete the webhook of this id; one that is gone already is no error."""
        ...


@dataclass(frozen=True)
class Webhooks:
    """How a system tells of changes."""

    open: Callable[[Access], AbstractAsyncContextManager[WebhookAdmin]]
    # The notices of one delivered body. It has no side effects. An entity, version or action that
    # is unknown gives none; it raises `BadInput` where the body is no event at all.
    notices: Callable[[bytes], list[Notice]]
    entities: tuple[str, ...]  # whose changes have events
    retried_for: timedelta  # how long the source repeats an event; a longer outage of ours is a gap
    # After failed deliveries the source may send nothing for so long; those events are lost, too.
    paused_for: timedelta = timedelta()
    scopes: tuple[str, ...] = ()  # any one of them allows to make webhooks


SearchKind = Literal["phone", "email", "domain"]


@dataclass(frozen=True)
class RecordRef:
    """One record at the source."""

    entity: str  # one of the system's entities
    id: str  # as `Source.records` takes it


class Searcher(Protocol):
    """One tenant's search, open for questions."""

    async def find(self, kind: SearchKind, texts: tuple[str, ...]) -> list[RecordRef]:
        """The records that have a phone number, an e-mail address or an address at a domain.

        Args:
            kind: what the texts are.
            texts: spellings of one number, address or domain; the first with a result ends it.

        Returns:
            A few records at most, those that others refer to first; empty if there is none.

        Raises:
            As `Source.pages`, except `StateExpired`.
        """
        ...


@dataclass(frozen=True)
class Search:
    """A system's own search."""

    open: Callable[[Access], AbstractAsyncContextManager[Searcher]]
    tokens: int  # of one spelling


FieldKind = Literal[
    "text",
    "int",  # whole numbers of 64 bits
    "double",  # numbers with all their digits
    "boolean",
    "date",
    "time",
    "timerange",
    "daterange",
    "monetary",
    "enum",  # one option's id, a number
    "set",  # several options' ids, numbers
    "choice",  # one option's id, a text
    "address",
    "reference",  # another record's id
]


@dataclass(frozen=True)
class FieldType:
    """A system's type of custom field: how its values are converted and shown."""

    kind: FieldKind
    refers_to: str | None = None  # of a reference: the entity whose column ``name`` is shown
    length_max: int | None = None  # characters of a text that can be written


# The users with the same role as the record's owner, or every user of the account.
Audience = Literal["group", "everybody"]


@dataclass(frozen=True)
class Budget:
    """What one company may spend in a day, until an answer reports another limit or day's end."""

    daily_tokens: int  # of the smallest plan; the day ends at midnight UTC


@dataclass(frozen=True)
class System:
    """One CRM, as a declaration. `registry.register` makes it known to every package."""

    key: str  # in tables, routes and settings: ``pipedrive``; see `registry.register`
    label: str  # for people: "Pipedrive"
    entities: tuple[Entity, ...]  # in the order of reading: definitions and parents first
    auth: tuple[AuthScheme, ...]  # at most one of each kind, the preferred one first
    hosts: tuple[str, ...]  # default of `<KEY>_ALLOWED_HOSTS`; tokens go to no other host
    # A source for one tenant. Opening does no I/O; the end of the block closes its connections.
    open: Callable[[Access], AbstractAsyncContextManager[Source]]
    budget: Budget | None = None  # None: the system has no daily budget, calls are only counted
    # By the system's name of the type; values of any other type are shown as they were sent.
    field_types: Mapping[str, FieldType] = field(default_factory=dict, hash=False)
    # Who may see a record, by the value of its mart's ``visible_to``; other values: its owner.
    audiences: Mapping[str, Audience] = field(default_factory=dict, hash=False)
    webhooks: Webhooks | None = None  # None: the system tells of no changes, they are only read
    search: Search | None = None  # None: a look-up answers from crm alone
    marts_folder: Path | None = None  # of its selects; None: ``sql/marts/<key>``
    # What can be written; an operation that is absent is not supported.
    writes: Mapping[Operation, WriteSpec] = field(default_factory=dict, hash=False)
    # A writer for one tenant, as ``open``; a system with ``writes`` has it.
    open_writer: Callable[[Access], AbstractAsyncContextManager[Writer]] | None = None

    @cached_property
    def by_name(self) -> Mapping[str, Entity]:
        """The entities by name, in the order of reading."""
        return MappingProxyType({entity.name: entity for entity in self.entities})

    @cached_property
    def off_by_default(self) -> tuple[str, ...]:
        """The names of entities that a tenant must switch on, in alphabetical order."""
        return tuple(sorted(each.name for each in self.entities if not each.is_on_by_default))

    def entity(self, name: str) -> Entity:
        """The entity of this name.

        Raises:
            BadInput: the system has none.
        """
        if name not in self.by_name:
            known = ", ".join(self.by_name)
            raise BadInput(f"{self.label} has no entity {name[:64]!r}; there are {known}.")
        return self.by_name[name]

    def key_of(self, table: str) -> Column:
        """The column with a record's key in a raw table: an entity's own, or its history."""
        return self.entity(table.removesuffix(HISTORY_SUFFIX)).key

    def auth_of(self, kind: Literal["oauth", "api_token"]) -> AuthScheme | None:
        """The scheme of this kind; None if the system has none."""
        return next((scheme for scheme in self.auth if scheme.kind == kind), None)
