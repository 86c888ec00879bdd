"""Bodies and answers of the routes of an app's webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from pipedrive_pipeline.connect.api.crm import ids
from pipedrive_pipeline.connect.api.crm.objects import resource_of
from pipedrive_pipeline.connect.api.models import Instant, Printable
from pipedrive_pipeline.marts.declared import mart
from pipedrive_pipeline.marts.events import known_patterns, known_types
from pipedrive_pipeline.sync.events.addresses import URL_MAX_CHARACTERS
from pipedrive_pipeline.sync.events.delivering import message_id
from pipedrive_pipeline.sync.events.log import DeliveryState, EventLogEntry
from pipedrive_pipeline.sync.events.queue import Attempt
from pipedrive_pipeline.sync.events.webhooks import OVERLAP_HOURS, AppWebhook, State

EXAMPLE_URL: Final = "https://app.example.com/crm-events"
TypeName = Annotated[str, Field(json_schema_extra={"enum": [*known_patterns(), *known_types()]})]
Url = Annotated[str, Field(min_length=1, max_length=URL_MAX_CHARACTERS, examples=[EXAMPLE_URL])]
EventTypes = Annotated[
    list[TypeName],
    Field(
        min_length=1,
        max_length=100,
        description="What is sent: types, `deal.*` for all of one kind, `*` for all.",
        examples=[["deal.*", "person.created"]],
    ),
]
Description = Annotated[Printable | None, Field(description="What it is for.")]


class WebhookIn(BaseModel):
    """A webhook that is to be made."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    url: Url = Field(description="An https address with a public name; redirects are not followed.")
    event_types: EventTypes
    description: Description = None


class WebhookChange(BaseModel):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    url: Url = Field(default="", description="Events that wait are sent there, too.")
    event_types: EventTypes = Field(default=["*"])
    description: Description = None
    state: Literal["active", "paused"] = Field(
        default="active",
        description="paused: events wait, for up to a week; active: they are sent at once.",
    )

    def given(self) -> dict[str, Any]:
        """The values that the request names."""
        return self.model_dump(exclude_unset=True)


class SecretRotation(BaseModel):
    """How a secret is replaced."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    overlap_hours: int = Field(
        default=OVERLAP_HOURS,
        ge=0,
        le=24 * 14,
        description="So long events are signed with the former secret, too; 0: it leaked.",
    )


class Replay(BaseModel):
    """The events that are to be delivered again."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    since: Instant = Field(description="Recorded at this time or later; kept for 7 days.")
    until: Instant | None = Field(default=None, description="And before this one.")


class ReplayCount(BaseModel):
    """What is delivered again."""

    events: int = Field(description="How many events wait for their delivery now.")


class WebhookShown(BaseModel):
    """A webhook; its secret is shown only when it is made."""

    id: UUID
    url: str
    description: str | None
    event_types: list[str]
    state: State = Field(
        description="disabled: three days of failures, or the answer 410; `state_reason` says why."
    )
    state_reason: str | None
    failing_since: datetime | None = Field(description="Of the failures since the last delivery.")
    last_failure: str | None
    last_delivered_at: datetime | None
    former_secret_until: datetime | None = Field(description="Signed with both secrets until then.")
    waiting: int = Field(description="Events that are not delivered yet.")
    created_at: datetime
    created_by: str


class WebhookWithSecret(WebhookShown):
    """A webhook with its new secret, which is not shown again."""

    secret: str | None = Field(
        description="`whsec_…`, for a library of Standard Webhooks; null if the request came twice."
    )


class AttemptShown(BaseModel):
    """One attempt to deliver an event."""

    at: datetime
    status: int | None = Field(description="Of the answer; null if none came.")
    error: str | None = Field(description="Why it failed; null if the event was taken.")
    milliseconds: int


class DeliveryShown(BaseModel):
    """One event and what became of it at this webhook."""

    id: str = Field(description="The `webhook-id` of its deliveries.")
    type: str
    record_id: str
    timestamp: datetime = Field(description="When the change was written in the tables.")
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    tries: list[AttemptShown] = Field(description="The last twenty, the newest first.")


def webhook_shown(webhook: AppWebhook) -> WebhookShown:
    """A webhook as the API shows it."""
    facts = {name: getattr(webhook, name) for name in WebhookShown.model_fields}
    return WebhookShown(**facts)


def attempt_shown(attempt: Attempt) -> AttemptShown:
    """An attempt as the API shows it."""
    return AttemptShown.model_validate(attempt.facts())


def delivery_shown(delivery: EventLogEntry) -> DeliveryShown:
    """A delivery as the API shows it."""
    return DeliveryShown(
        id=message_id(delivery.message_id),
        type=delivery.type,
        record_id=ids.shown(resource_of(mart(delivery.mart)), delivery.row_id),
        timestamp=delivery.recorded_at,
        state="waiting" if delivery.delivered_at is None else "delivered",
        attempts=delivery.attempts,
        next_attempt_at=delivery.next_attempt_at,
        delivered_at=delivery.delivered_at,
        tries=[AttemptShown.model_validate(each) for each in delivery.tries],
    )
