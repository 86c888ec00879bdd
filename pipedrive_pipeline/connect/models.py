"""What the API takes and gives, as pydantic models: the one place where it is spelled.

Belongs here: names, types and limits of bodies. Does not belong here: the envelope around them
(`envelope.py`), or where they come from. Names are camelCase outside, ours inside.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from pipedrive_pipeline.connect.keys import NAME_MAX_CHARACTERS, Role

T = TypeVar("T")
SyncType = Literal["full", "incremental"]


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("needs a character that can be seen, and none that cannot be printed")
    return text


Printable = Annotated[
    str, Field(min_length=1, max_length=NAME_MAX_CHARACTERS), AfterValidator(_printable)
]


class Model(BaseModel):
    """One body or a part of one; what it does not know it refuses."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        from_attributes=True,
        extra="forbid",
        frozen=True,
    )


# --- the envelope


class Pagination(BaseModel):
    """Where a list goes on."""

    next_cursor: str | None = Field(description="For `cursor`; null at the end.")


class Meta(BaseModel):
    """Beside every answer."""

    request_id: str = Field(description="Stands in the log, too.")


class ListMeta(Meta):
    """Beside a list."""

    pagination: Pagination


class Answer(BaseModel, Generic[T]):
    """One thing."""

    data: T
    meta: Meta


class Listed(BaseModel, Generic[T]):
    """Several things."""

    data: list[T]
    meta: ListMeta


class Detail(BaseModel):
    """What is wrong with one field."""

    field: str
    issue: str


class Error(BaseModel):
    """Why not, and what to do."""

    code: str
    message: str
    details: list[Detail]


class Refusal(BaseModel):
    """Every error."""

    error: Error
    meta: Meta


# --- connections


class Company(Model):
    """The account that is connected."""

    id: str | None = None
    name: str | None = None
    domain: str | None = None


class ConnectedUser(Model):
    """Whose rights the records are read with."""

    name: str | None = None
    is_admin: bool | None = None


class LastSync(Model):
    """How the last run ended."""

    at: datetime | None = None
    status: str | None = None
    error: str | None = None


class Connection(Model):
    """One system's connection; never a token."""

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
    """It works."""

    status: Literal["ok"] = "ok"


class LinkMade(Model):
    """A one-time link, shown once."""

    url: str
    expires_at: datetime


class ProvedUser(ConnectedUser):
    """Who answered."""

    id: str | None = None


class Proof(Model):
    """A connection that works: as whom, and what that user cannot see."""

    works: Literal[True] = True
    company: Company
    user: ProvedUser
    missing_scopes: list[str]
    unreadable_entities: list[str]
    limits: list[str] = Field(description="Sentences for people.")


class Ended(Model):
    """A connection that is over."""

    system: str
    state: Literal["disconnected"] = "disconnected"
    is_revoked: bool
    note: str | None


class ConfirmIn(Model):
    """A yes to the company that waits."""

    other_company: bool = False


# --- fields and mapping


class Option(Model):
    """One of a field's values."""

    id: str
    label: str


class FieldShown(Model):
    """One field of the source, as last seen by a sync."""

    entity: str
    key: str
    name: str
    type: str
    is_custom: bool
    options: list[Option]
    removed_at: datetime | None = Field(description="Since when it is gone from the source.")
    fills: list[str] = Field(description="Targets that the active mapping gives it.")


class TargetIn(Model):
    """A target with what goes with it."""

    target: str
    precedence: int | None = None
    as_: Literal["text", "number"] | None = Field(default=None, alias="as")


MappingText = dict[str, dict[str, str | TargetIn]]
MAPPING_EXAMPLE: JsonDict = {
    "organizations": {"a1b2c3": "customer_number"},
    "persons": {"d4e5f6": "attributes.birthday"},
}


class MappingIn(Model):
    """A whole mapping, and the version that its editor saw (0: none)."""

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
    """One version of the mapping; version 0 says that nothing was ever saved."""

    version: int
    is_active: bool
    mapping: dict[str, dict[str, Any]]
    saved_at: datetime | None
    saved_by: str | None
    vanished: list[str] = Field(description="Entries whose field is gone from the source.")


class VersionShown(Model):
    """That a version was saved."""

    version: int
    is_active: bool
    saved_at: datetime
    saved_by: str | None


class PreviewRow(Model):
    """One row before and after."""

    pipedrive_id: int
    before: dict[str, Any] | None
    after: dict[str, Any]


class CoverageShown(Model):
    """How far one entry fills its target."""

    entity: str
    source: str
    target: str
    records: int
    filled: int
    percent: float
    refused: int
    refused_examples: list[tuple[int, str]]


class PreviewShown(Model):
    """What a mapping would do; nothing was saved."""

    rows: dict[str, list[PreviewRow]]
    coverage: list[CoverageShown]


# --- keys


class KeyIn(Model):
    """A key to make."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "our app's backend", "role": "manager"}]}
    )
    name: Printable
    role: Role


class KeyShown(Model):
    """A key without its secret."""

    id: UUID
    name: str
    role: Role
    prefix: str
    created_at: datetime
    created_by: str | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class KeyMade(KeyShown):
    """A new key."""

    key: str | None = Field(
        description="Shown once; null where a repeated Idempotency-Key is answered again."
    )


def _plain(mapping: MappingText) -> dict[str, Any]:
    return {
        entity: {
            key: one if isinstance(one, str) else one.model_dump(by_alias=True, exclude_none=True)
            for key, one in sources.items()
        }
        for entity, sources in mapping.items()
    }
