"""The bodies of the API about what a person reviews: held deletions, rejected values."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from pipedrive_pipeline.connect.api.models import Instant, Model


class DeletionExampleShown(Model):
    """One record that the source no longer lists."""

    id: str
    name: str | None = Field(description="null: it has none, or no table of `crm` has the records.")
    changed_at: datetime | None


class HeldDeletionsShown(Model):
    """Deletions of one entity that were not believed, since they are too many."""

    entity: str
    known: int = Field(description="Records that are here and not marked as deleted.")
    gone: int = Field(description="How many of them the source no longer lists.")
    found_at: datetime
    run_id: UUID | None
    decision: Literal["confirmed", "refused"] | None
    decided_at: datetime | None
    decided_by: str | None
    examples: list[DeletionExampleShown]


class DeletionDecision(Model):
    """What becomes of held deletions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"decision": "refused", "foundAt": "2026-11-29T02:00:00.123456Z"}]
        }
    )
    decision: Literal["confirmed", "refused"] = Field(
        description="`confirmed`: a sweep is requested, which marks as many as deleted; `refused`: "
        "they stay, and the next sweep asks again."
    )
    found_at: Instant = Field(description="As shown, so that only what was seen is decided.")


class RejectedValueShown(Model):
    """A value that no column could hold, or a record without a usable id."""

    entity: str
    record_id: str | None
    field: str | None
    field_name: str | None
    target: str | None = Field(description="The column that a mapping could not fill with it.")
    value: str | None = Field(description="As sent, printable, shortened.")
    reason: str
    first_seen_at: datetime
    last_seen_at: datetime
