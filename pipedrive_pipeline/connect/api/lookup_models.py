"""The bodies of the look-up. Field names are camelCase in JSON and snake_case in Python."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from pipedrive_pipeline.connect.api.models import Model
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.contact_points.lookup import Found, Kind, Question
from pipedrive_pipeline.sync import lookup

TEXT_MAX_CHARACTERS = 320  # of a question: the longest e-mail address
LOOK_UPS_MAX = 100
KINDS: tuple[Kind, ...] = ("phone", "email", "domain")

Text = Annotated[str, Field(max_length=TEXT_MAX_CHARACTERS)]


class LookUpIn(Model):
    """One question: exactly one of the three."""

    phone: Text | None = None
    email: Text | None = None
    domain: Text | None = None

    def question(self) -> Question:
        """The question.

        Raises:
            BadInput: none of the three is given, or more than one.
        """
        given = [(kind, text) for kind in KINDS if (text := getattr(self, kind)) is not None]
        if len(given) != 1:
            raise BadInput("Give exactly one of phone, email and domain for each look-up.")
        return Question(*given[0])


class LookUpsIn(Model):
    """Up to 100 questions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"lookUps": [{"phone": "030 1234567"}, {"email": "ann@acme.example"}]}]
        }
    )
    look_ups: list[LookUpIn] = Field(min_length=1, max_length=LOOK_UPS_MAX)


class FoundContact(Model):
    """A person, `crm.contacts`."""

    id: UUID
    system: str | None = Field(description="Null for a row that the app made.")
    remote_id: str | None
    name: str | None
    job_title: str | None
    email: str | None
    phone: str | None


class FoundCustomer(Model):
    """A company, `crm.customers`."""

    id: UUID
    system: str | None = Field(description="Null for a row that the app made.")
    remote_id: str | None
    name: str | None
    website: str | None
    city: str | None
    country: str | None


class FoundOwner(Model):
    """The colleague who owns the contact, else the customer."""

    id: UUID | None = Field(description="Null where only the name is known.")
    name: str | None
    email: str | None


class FoundDeal(Model):
    """An open deal of the contact or the customer."""

    id: UUID
    name: str | None
    amount: float | None
    currency: str | None
    expected_close_date: date | None
    stage: str | None


class FoundActivity(Model):
    """The last activity that is done, of the contact or the customer."""

    id: UUID
    kind: str | None
    subject: str | None
    at: datetime | None


class LookupMatch(Model):
    """A contact with its customer, or a customer alone."""

    contact: FoundContact | None
    customer: FoundCustomer | None
    owner: FoundOwner | None
    open_deals: list[FoundDeal] = Field(description="The five that changed last.")
    open_deals_count: int
    last_activity: FoundActivity | None


MATCH_EXAMPLE: dict[str, Any] = {
    "contact": {
        "id": "0b5c1f2e-6a0d-4b52-9a57-1f4c1f0e7d11",
        "system": "examplecrm",
        "remoteId": "17",
        "name": "Ann Example",
        "jobTitle": "Buyer",
        "email": "ann@acme.example",
        "phone": "030 1234567",
    },
    "customer": {
        "id": "5d0d2c0a-1f0e-4f6e-8d0f-2b1a3c4d5e6f",
        "system": "examplecrm",
        "remoteId": "4",
        "name": "Acme",
        "website": "https://acme.example",
        "city": "Berlin",
        "country": "Germany",
    },
    "owner": {
        "id": "9e107d9d-372b-4b68-8c1e-0a1b2c3d4e5f",
        "name": "Bea Seller",
        "email": "bea@seller.example",
    },
    "openDeals": [
        {
            "id": "7f4df2a1-0f0a-4a53-8d0e-6f7a8b9c0d1e",
            "name": "Pumps",
            "amount": 1200.5,
            "currency": "EUR",
            "expectedCloseDate": "2026-12-24",
            "stage": "Offer",
        }
    ],
    "openDealsCount": 1,
    "lastActivity": {
        "id": "1c2d3e4f-5a6b-4c7d-8e9f-0a1b2c3d4e5f",
        "kind": "call",
        "subject": "Asked for an offer",
        "at": "2026-11-27T09:30:00Z",
    },
}


class SearchedSource(Model):
    """The search of one system, with `fallback=source`."""

    system: str
    state: Literal["read", "not_found", "pending", "failed"] = Field(
        description="`read`: the records that it found are in crm; `pending`: another run of the "
        "tenant reads them now, ask again in a minute; `failed`: see `code`."
    )
    code: str = ""
    message: str = ""


class LookUp(Model):
    """The answer to one question."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "phone",
                    "text": "030 1234567",
                    "value": "+49301234567",
                    "reason": None,
                    "foundIn": "crm",
                    "searched": [],
                    "matches": [MATCH_EXAMPLE],
                }
            ]
        }
    )
    kind: Kind
    text: str = Field(description="As it was asked.")
    value: str | None = Field(
        description="E.164, the address in lower case, or the domain; null: see `reason`."
    )
    reason: Literal["unreadable", "free_mail"] | None = Field(
        description="Why nothing was looked up: the text is no number, address or domain, or the "
        "domain is one at which anybody may have an address."
    )
    found_in: Literal["crm", "source"] | None = Field(
        description="`source`: brought in from the CRM by this question; null: not found."
    )
    searched: list[SearchedSource] = Field(description="The systems that were searched for it.")
    matches: list[LookupMatch] = Field(description="The best first; at most ten.")


class Unreadable(Model):
    """A text that no look-up finds; mend it in the CRM."""

    kind: Literal["phone", "email", "website"]
    entered: str
    customer_id: UUID | None
    contact_id: UUID | None

    model_config = ConfigDict(extra="ignore", from_attributes=True)


def presented(found: Found, searched: Sequence[lookup.Searched] = ()) -> LookUp:
    """The answer to one question as the API shows it; ``searched`` came before it was found."""
    question = found.question
    reason: Literal["unreadable", "free_mail"] | None = None
    if found.value is None:
        reason = "free_mail" if question.is_of_free_mail() else "unreadable"
    return LookUp(
        kind=question.kind,
        text=question.text,
        value=found.value,
        reason=reason,
        found_in=("source" if searched else "crm") if found.rows else None,
        searched=[SearchedSource.model_validate(each) for each in searched],
        matches=[_match(row) for row in found.rows],
    )


def _match(row: dict[str, Any]) -> LookupMatch:
    owner = FoundOwner.model_validate(_part(row, "owner_"))
    return LookupMatch(
        contact=FoundContact.model_validate(_part(row, "contact_")) if row["contact_id"] else None,
        customer=FoundCustomer.model_validate(_part(row, "customer_"))
        if row["customer_id"]
        else None,
        owner=owner if owner.id or owner.name else None,
        open_deals=[FoundDeal.model_validate(deal) for deal in row["open_deals"]],
        open_deals_count=row["open_deals_count"],
        last_activity=FoundActivity.model_validate(_part(row, "activity_"))
        if row["activity_id"]
        else None,
    )


def _part(row: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)
    }
