"""The bodies of the integration routes, in the names of the CRM API (snake_case)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from pipedrive_pipeline.connect.api.crm.ids import ID_MAX_CHARACTERS
from pipedrive_pipeline.connectors.writing import Verb
from pipedrive_pipeline.sync.writes.matching import EXTERNAL_KEY, KEY_MAX, By, Policy

TOKEN_MAX: Final = 8_000  # characters: tokens of some systems are signed and long
ADDRESS_MAX: Final = 300  # characters
Key = Annotated[str, Field(min_length=1, max_length=KEY_MAX)]


class _Strict(BaseModel):
    # An input in an error's text could be a token.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SentCredentials(_Strict):
    """Credentials for this request alone: never stored, never logged."""

    token: SecretStr = Field(
        min_length=1, max_length=TOKEN_MAX, description="An API token, or an OAuth access token."
    )
    api_url: str = Field(
        max_length=ADDRESS_MAX,
        description="The address of the account; its host must be one that the operator allows.",
    )
    kind: Literal["oauth", "api_token"] | None = Field(
        default=None, description="Of the token; by default an API token where the system has them."
    )


class ByPlatform(_Strict):
    """Which CRM, and with whose credentials."""

    platform: str | None = Field(
        default=None,
        max_length=40,
        description="Key of the CRM; needed where the tenant has connected several.",
    )
    credentials: SentCredentials | None = Field(
        default=None, description="Instead of the stored connection; they open the same account."
    )


class WantedRecord(_Strict):
    """How a record is found: by its id, by the app's own key, or by what it has."""

    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=ID_MAX_CHARACTERS,
        description="As the CRM API shows it, or `<system>:<id in that system>`.",
    )
    external_key: Key | None = Field(
        default=None, description="The app's own key; looked for first, and remembered by a write."
    )
    match: By | None = Field(
        default=None, description="What else finds the record; without it the app's own key does."
    )
    match_value: Key | None = Field(
        default=None, description="What is looked for; by default the field of this name."
    )

    @property
    def by(self) -> By | None:
        """What finds the record, besides its id."""
        return self.match or (EXTERNAL_KEY if self.external_key else None)

    @model_validator(mode="after")
    def _says_what_is_looked_for(self) -> Self:
        if self.match == EXTERNAL_KEY and self.external_key is None:
            raise ValueError("match external_key needs the key in external_key")
        if self.match_value is not None and self.match in {None, EXTERNAL_KEY}:
            raise ValueError("match_value needs a match, such as email")
        return self


class SentRecord(WantedRecord):
    """A record that is written."""

    policy: Policy = Field(
        default="upsert",
        description="What is done: `upsert` changes the record or makes it, `update_only` makes "
        "none, `create_only` changes none.",
    )
    if_match: str | None = Field(
        default=None,
        max_length=KEY_MAX,
        description="The ETag that was read; the write is refused (412) if the record moved, or is "
        "not found.",
    )
    fields: dict[str, Any] = Field(
        description="The fields to set, by the names of the CRM API; `custom_fields` by name."
    )

    @model_validator(mode="after")
    def _can_be_found(self) -> Self:
        if self.id is None and self.by is None and self.policy != "create_only":
            raise ValueError(
                "says how the record is found: give id, external_key or match; or policy "
                "create_only, to make a new one each time"
            )
        return self


class CustomerSync(ByPlatform):
    """A customer, a contact, or both: the contact is linked to the customer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customer": {
                        "external_key": "customer-4711",
                        "match": "domain",
                        "match_value": "acme.example",
                        "fields": {"name": "Acme", "website": "https://acme.example"},
                    },
                    "contact": {
                        "external_key": "person-17",
                        "match": "email",
                        "fields": {"name": "Ann Example", "emails": ["ann@acme.example"]},
                    },
                }
            ]
        }
    )
    customer: SentRecord | None = None
    contact: SentRecord | None = None

    @model_validator(mode="after")
    def _has_a_record(self) -> Self:
        if self.customer is None and self.contact is None:
            raise ValueError("give a customer, a contact, or both")
        return self


class LeadSync(ByPlatform):
    """A lead, with the customer and the contact that it is linked to."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "contact": {
                        "match": "email",
                        "fields": {"name": "Ann Example", "emails": ["ann@acme.example"]},
                    },
                    "lead": {
                        "external_key": "inquiry-99",
                        "fields": {"title": "Pumps for Acme", "value": 1200, "currency": "EUR"},
                    },
                }
            ]
        }
    )
    lead: SentRecord
    customer: SentRecord | None = None
    contact: SentRecord | None = None


class AppointmentSync(ByPlatform):
    """An appointment, with the customer and the contact that it is linked to."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "appointment": {
                        "external_key": "appointment-3",
                        "fields": {
                            "subject": "Visit",
                            "type": "meeting",
                            "due_date": "2026-12-01",
                            "due_time": "09:30",
                        },
                    },
                    "notify": False,
                }
            ]
        }
    )
    appointment: SentRecord
    customer: SentRecord | None = None
    contact: SentRecord | None = None
    notify: bool = Field(
        default=False, description="Whether those who take part are invited; see the answer."
    )


class CustomerWanted(ByPlatform):
    """A customer or a contact that is read."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"customer": {"external_key": "customer-4711"}}]}
    )
    customer: WantedRecord | None = None
    contact: WantedRecord | None = None
    fresh: bool = Field(
        default=False,
        description="Reads the record at the CRM first; with credentials this is always done.",
    )

    @model_validator(mode="after")
    def _has_one_record(self) -> Self:
        records = [each for each in (self.customer, self.contact) if each is not None]
        if len(records) != 1:
            raise ValueError("give a customer or a contact")
        if records[0].id is None and records[0].by is None:
            raise ValueError("says how the record is found: give id, external_key or match")
        return self


class PlatformOperation(BaseModel):
    """Whether a CRM supports an operation."""

    is_supported: bool
    records: dict[str, list[Verb]] = Field(
        description="What can be done to each record of a request: create, update."
    )


class Platform(BaseModel):
    """One CRM of this installation."""

    platform: str
    label: str
    state: str = Field(description="Of the tenant's connection; `disconnected` if it has none.")
    credential_kinds: list[str]
    writes_allowed: list[str] = Field(description="The resources that the tenant lets be written.")
    matches: dict[str, list[By]] = Field(description="What finds a record of each kind.")
    operations: dict[str, PlatformOperation]
    sends_invitations: bool = Field(description="Of appointments, where `notify` asks for it.")


class WorkingCredentials(BaseModel):
    """Credentials that work: whose account they open."""

    works: Literal[True] = True
    platform: str
    credentials: Literal["stored", "request"]
    account_id: str
    account_name: str
    user_name: str
    is_admin: bool | None
    is_connected_account: bool = Field(
        description="Whether the tenant's rows are of this account; writes need that."
    )
    limits: list[str] = Field(description="Sentences for people: what the user cannot see.")


class SyncedRecord(BaseModel):
    """What became of one record."""

    action: Literal["created", "updated"]
    status: int = Field(description="201, 200; 202: in the CRM, not yet in the tables.")
    id: str = Field(description="`<platform>:<id in that system>`, as every id is accepted.")
    data: dict[str, Any] | None = Field(description="The record as it now is, as in the CRM API.")
    warnings: list[dict[str, Any]]


class Invitation(BaseModel):
    """Whether those who take part in an appointment were invited."""

    was_sent: bool
    reason: str = Field(description="Why not; empty if it was sent.")


class SyncAnswer(BaseModel):
    """What became of the records of a request."""

    platform: str
    customer: SyncedRecord | None = None
    contact: SyncedRecord | None = None
    lead: SyncedRecord | None = None
    appointment: SyncedRecord | None = None
    invitation: Invitation | None = Field(default=None, description="Of an appointment.")


class TriedRecord(BaseModel):
    """The call that one record makes, and what became of it."""

    request: dict[str, Any]
    answer: dict[str, Any] | None = Field(description="None of a dry run.")


class TriedRecords(BaseModel):
    """The calls that a request makes, in their order."""

    platform: str
    records: dict[str, TriedRecord]


class CustomerRead(BaseModel):
    """A customer or a contact, as in the CRM API."""

    platform: str
    is_fresh: bool = Field(description="It was read at the CRM for this answer.")
    customer: dict[str, Any] | None = None
    contact: dict[str, Any] | None = None
