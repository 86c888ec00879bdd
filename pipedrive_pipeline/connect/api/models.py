"""The bodies of the API: envelope, connections, fields and mapping, keys.

Field names are camelCase in JSON and snake_case in Python.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AfterValidator, AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from pipedrive_pipeline.connect.auth.keys import NAME_MAX_CHARACTERS
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connectors.registry import systems

CURSOR_MAX_CHARACTERS = 200
T = TypeVar("T")
SyncType = Literal["full", "incremental", "sweep", "remap", "verify"]


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("needs a visible character, and only printable ones")
    return text


Printable = Annotated[
    str, Field(min_length=1, max_length=NAME_MAX_CHARACTERS), AfterValidator(_printable)
]


def in_utc(at: datetime) -> datetime:
    """The same instant in UTC: Postgres refuses an offset of 16 hours or more.

    Raises:
        ValueError: it lies before the year 1 or after 9999 then.
    """
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be of the years 1 to 9999 in UTC") from None


Instant = Annotated[AwareDatetime, AfterValidator(in_utc)]


class Model(BaseModel):
    """A body or a part of one; unknown fields are refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        from_attributes=True,
        extra="forbid",
        frozen=True,
    )


# --- the envelope


class Pagination(BaseModel):
    """The position of the next page."""

    next_cursor: str | None = Field(description="For `cursor`; null on the last page.")


class Meta(BaseModel):
    """Facts about an answer."""

    request_id: str = Field(description="The log has it, too.")


class ListMeta(Meta):
    """Facts about a list."""

    pagination: Pagination


class Answer(BaseModel, Generic[T]):
    """An answer."""

    data: T
    meta: Meta


class Listed(BaseModel, Generic[T]):
    """A list."""

    data: list[T]
    meta: ListMeta


class Detail(BaseModel):
    """The issue of one field."""

    field: str
    issue: str


class Error(BaseModel):
    """The cause, and the next step."""

    code: str
    message: str
    details: list[Detail]


class Refusal(BaseModel):
    """An error answer."""

    error: Error
    meta: Meta


# --- connections


class Company(Model):
    """The account that is connected."""

    id: str | None = None
    name: str | None = None
    domain: str | None = None


class ConnectedUser(Model):
    """The user whose rights the records are read with."""

    name: str | None = None
    is_admin: bool | None = None


class LastSync(Model):
    """The end of the last run."""

    at: datetime | None = None
    status: str | None = None
    error: str | None = None


class Connection(Model):
    """The connection to one system, without its tokens."""

    system: str
    label: str
    state: Literal["pending", "connected", "needs_reauth", "disconnected"]
    state_reason: str | None = None
    state_sentence: str | None = None
    kind: str | None = None
    company: Company = Company()
    user: ConnectedUser = ConnectedUser()
    api_domain: str | None = None
    scopes: list[str] = []
    missing_scopes: list[str] = []
    connected_by: str | None = None
    connected_at: datetime | None = None
    token_expires_at: datetime | None = None
    last_sync: LastSync = LastSync()


class Ok(Model):
    """The app and its database answer."""

    status: Literal["ok"] = "ok"


class ConnectLink(Model):
    """A one-time link, shown once."""

    id: UUID
    url: str
    expires_at: datetime


class OpenLinkShown(Model):
    """A link that still works, without its secret."""

    id: UUID
    system: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    opened_at: datetime | None = Field(
        description="When a browser first followed it; null: nobody has opened it."
    )
    reconnects_only: bool


class Withdrawal(Model):
    """A link that opens nothing any more."""

    id: UUID
    state: Literal["withdrawn"] = "withdrawn"


class TestedUser(ConnectedUser):
    """The user that the source named."""

    id: str | None = None


class ConnectionTest(Model):
    """A connection that works: its user, and the records that this user cannot see."""

    works: Literal[True] = True
    company: Company
    user: TestedUser
    missing_scopes: list[str]
    unreadable_entities: list[str]
    limits: list[str] = Field(description="Sentences for people.")


class Disconnection(Model):
    """A connection that was ended."""

    system: str
    state: Literal["disconnected"] = "disconnected"
    is_revoked: bool
    note: str | None


class Received(Model):
    """What became of an event."""

    stored: int = Field(description="Changes that were new; 0: repeated, unknown or not ours.")


class ConfirmIn(Model):
    """The confirmation of a grant."""

    other_company: bool = False


# --- fields and mapping


class Option(Model):
    """One option of a field."""

    id: str
    label: str


class FieldShown(Model):
    """One field of the source, as the last sync read it."""

    entity: str
    key: str
    name: str
    type: str
    is_custom: bool
    options: list[Option]
    removed_at: datetime | None = Field(description="When the source removed it; null: it exists.")
    fills: list[str] = Field(description="Its targets in the active mapping.")


class FieldValuesShown(Model):
    """The values of one field in the newest records."""

    entity: str
    key: str = Field(validation_alias=AliasChoices("field_key", "key"))
    records: int = Field(description="How many records were looked at, at most 1,000.")
    filled: int = Field(description="How many of them have a value.")
    samples: dict[str, list[str]] = Field(
        description="Up to three values of each part of the field, shortened; the whole value has "
        "the name of nothing."
    )


class ProposalShown(Model):
    """An entry that may be added to the mapping; nothing was saved."""

    entity: str
    source: str = Field(description="Key of the field, and the part where it is not the first.")
    field_name: str
    target: str
    as_: Literal["text", "number"] | None = Field(alias="as")
    basis: Literal["name", "currency", "successor"]
    reason: str


class TargetIn(Model):
    """A target with its options."""

    target: str
    precedence: int | None = None
    as_: Literal["text", "number"] | None = Field(default=None, alias="as")


MappingText = dict[str, dict[str, str | TargetIn]]
MAPPING_EXAMPLE: JsonDict = {
    entity.name: {"a1b2c3": "attributes.color"}
    for system in systems()[:1]
    for entity in system.entities
    if entity.defined_by
}


class MappingIn(Model):
    """A whole mapping, and the version that it replaces (0: none)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"mapping": MAPPING_EXAMPLE, "version": 3}]}
    )
    mapping: MappingText
    version: int = Field(ge=0, le=2_147_483_647)

    def text(self) -> dict[str, Any]:
        """The mapping as plain JSON."""
        return _plain(self.mapping)


class PreviewIn(Model):
    """A mapping to try."""

    mapping: MappingText

    def text(self) -> dict[str, Any]:
        """The mapping as plain JSON."""
        return _plain(self.mapping)


class MappingShown(Model):
    """One version of the mapping; version 0: none was ever saved."""

    version: int
    is_active: bool
    mapping: dict[str, dict[str, Any]]
    saved_at: datetime | None
    saved_by: str | None
    vanished: list[str] = Field(description="Entries whose field the source no longer has.")


class MappingChange(Model):
    """One source whose entry differs from the version before; null: it had or has none."""

    source: str = Field(description="`<entity>.<key>`, as in a mapping.")
    before: str | TargetIn | None
    after: str | TargetIn | None


class VersionShown(Model):
    """A saved version: what it changed, without its whole mapping."""

    version: int
    is_active: bool
    saved_at: datetime
    saved_by: str | None
    changes: list[MappingChange] = Field(description="Since the version before.")


class PreviewRow(Model):
    """One row before and after."""

    remote_id: str
    name: str | None = Field(description="The record's name, if its kind has one.")
    before: dict[str, Any] | None
    after: dict[str, Any]


class RefusedExample(Model):
    """A value that does not convert to the type of its column."""

    remote_id: str
    value: str = Field(description="As JSON.")
    reason: str


class CoverageShown(Model):
    """How many records one entry of a mapping fills."""

    entity: str
    source: str
    target: str
    records: int
    filled: int
    percent: float
    refused: int
    refused_examples: list[RefusedExample]


class PreviewShown(Model):
    """The effect that a mapping would have; nothing was saved."""

    rows: dict[str, list[PreviewRow]]
    coverage: list[CoverageShown]


# --- keys


class KeyIn(Model):
    """A new key's name and role."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "our app's backend", "role": "manager"}]}
    )
    name: Printable
    role: Role
    expires_at: Instant | None = Field(
        default=None, description="When the key stops working, with an offset; null: never."
    )
    crm_user: Annotated[str, Field(max_length=320)] | None = Field(
        default=None,
        description="Id in `users` of the CRM API: the key opens that API only "
        "and sees what that user may see; null: every record.",
    )


class KeyShown(Model):
    """A key without its secret."""

    id: UUID
    name: str
    role: Role
    prefix: str
    created_at: datetime
    created_by: str | None
    last_used_at: datetime | None = Field(description="Kept to the hour.")
    expires_at: datetime | None
    revoked_at: datetime | None
    crm_user_id: UUID | None = Field(
        default=None, description="The user of the CRM (crm.users.id) that it is bound to."
    )


class CreatedKey(KeyShown):
    """A new key with its secret."""

    key: str | None = Field(
        description="Shown once; null in the answer to a repeated Idempotency-Key."
    )


# --- the audit log


class AuditEntryShown(Model):
    """Who did what to what, and the values before and after, without secrets."""

    id: int
    at: datetime
    who: str
    action: str
    subject: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def _plain(mapping: MappingText) -> dict[str, Any]:
    return {
        entity: {
            key: entry
            if isinstance(entry, str)
            else entry.model_dump(by_alias=True, exclude_none=True)
            for key, entry in sources.items()
        }
        for entity, sources in mapping.items()
    }
