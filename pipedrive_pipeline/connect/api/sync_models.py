"""The bodies of the API about syncs: requests, runs, settings, status."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import AfterValidator, ConfigDict, Field

from pipedrive_pipeline.connect.api.models import (
    CURSOR_MAX_CHARACTERS,
    Connection,
    Instant,
    Model,
    SyncType,
)
from pipedrive_pipeline.sync.status.trends import RUNS_MAX, RUNS_SHOWN

PAGE_RUNS = 20
PAGE_RUNS_MAX = 200

RunStatus = Literal["queued", "running", "success", "partial", "failed", "paused", "cancelled"]
RunType = Literal["full", "incremental", "sweep", "remap", "verify"]
Trigger = Literal["schedule", "manual", "backfill", "connect", "webhook"]


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("is no IANA time zone such as Europe/Berlin")
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
EntityName = Annotated[str, Field(min_length=1, max_length=63)]
AlertUrl = Annotated[str, Field(min_length=5, max_length=500, pattern=r"^[!-+\--~]+$")]


class SyncIn(Model):
    """What a sync does."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"syncType": "incremental"}]})
    sync_type: SyncType = Field(
        default="incremental",
        description="`full` reads everything again; `incremental` reads changes; `sweep` looks "
        "for deletions; `remap` rebuilds the tables and `verify` compares them, without a call.",
    )


class EntityProgress(Model):
    """How far the read of one entity is."""

    rows: int = Field(description="Records read so far.")
    expected: int | None = Field(description="About as many as there are; null: unknown.")
    is_complete: bool


class Progress(Model):
    """The progress of a running sync, at most a second old."""

    phase: Literal["reading", "building"]
    stage: str = Field(description="The entity that is read.")
    pages: int
    rows: int
    seconds: float
    rows_per_second: float
    tokens: int = Field(description="Spent so far.")
    share: float | None = Field(description="Of the records, from 0 to 1; null: unknown.")
    seconds_left: float | None = Field(description="Of reading, about; null: unknown.")
    entities: dict[str, EntityProgress]


class RunError(Model):
    """An error of a run; docs/failures.md lists the codes."""

    code: str
    message: str


class RunEntity(Model):
    """The result of one entity in a run. `skipped`: the plan or the rights do not include it."""

    status: Literal["complete", "partial", "failed", "skipped", "paused"] | None = Field(
        description="null: it was not read; old records of it were erased."
    )
    code: str | None
    reason: str | None = Field(description="Why it is not complete.")
    fetched: int = Field(description="Records that the source sent.")
    rejected: int
    erased: int


class RunMart(Model):
    """The rows of one table of `crm` in a run, by what was done to them."""

    created: int
    updated: int
    unchanged: int
    deleted: int


class Watermark(Model):
    """Up to where an entity's changes were read: an instant, or a text of the source."""

    before: str | None = None
    after: str | None = None


class Run(Model):
    """A run, or a request that waits for one (`queued`) or ended without one."""

    id: UUID
    status: RunStatus
    sync_type: RunType
    trigger: Trigger
    requested_at: datetime | None
    requested_by: str | None
    started_at: datetime | None
    completed_at: datetime | None
    entities: dict[str, RunEntity]
    marts: dict[str, RunMart]
    tokens_spent: int
    api_calls: int
    watermarks: dict[str, Watermark]
    progress: Progress | None
    resume_at: datetime | None
    errors: list[RunError]
    dagster_run_id: str | None


class TrendPoint(Model):
    """The figures of one run that has ended."""

    started_at: datetime
    sync_type: RunType
    status: RunStatus
    rows_read: int = Field(description="Records that the source sent.")
    seconds: float
    tokens_spent: int
    api_calls: int


class TrendsIn(Model):
    """How many runs; unknown parameters are ignored."""

    model_config = ConfigDict(extra="ignore")

    limit: int = Field(default=RUNS_SHOWN, ge=1, le=RUNS_MAX)


class RunsIn(Model):
    """Filters and page of the history; unknown parameters are ignored."""

    model_config = ConfigDict(extra="ignore")

    status: list[RunStatus] | None = None
    sync_type: RunType | None = None
    trigger: Trigger | None = None
    since: Instant | None = Field(default=None, description="Inclusive, with an offset.")
    until: Instant | None = Field(default=None, description="Exclusive, with an offset.")
    limit: int = Field(default=PAGE_RUNS, ge=1, le=PAGE_RUNS_MAX)
    cursor: str | None = Field(default=None, max_length=CURSOR_MAX_CHARACTERS)


class SyncRequest(Model):
    """The request for a sync, from queued to done."""

    id: UUID
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    sync_type: RunType
    trigger: Trigger
    requested_at: datetime
    requested_by: str | None
    settled_at: datetime | None
    run_id: UUID | None = Field(description="The run that serves it: `sync/history/{id}`.")
    progress: Progress | None


class PriceOfRead(Model):
    """The price of a sync in tokens of the day's budget; nothing was requested."""

    sync_type: SyncType
    tokens: int = Field(description="At most.")
    tokens_least: int = Field(description="At least.")
    daily_limit: int
    entities: dict[str, int] = Field(description="At most, by entity.")
    rows: dict[str, int] = Field(
        description="Of a full read: records by entity, at most; absent where nobody knows."
    )


class Config(Model):
    """When and how a tenant is synced. A PUT changes the fields that it contains."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"autoSync": True, "syncTime": "02:00", "timeZone": "Europe/Berlin"}]
        }
    )
    auto_sync: bool = Field(default=True, description="false: only when it is asked for.")
    sync_time: TimeOfDay = Field(
        default="02:00", description="The time of the daily sync, in the time zone below."
    )
    time_zone: TimeZone | None = Field(default=None, description="null: the tenant's own.")
    every_hours: int | None = Field(default=None, ge=1, le=168, description="null: once a day.")
    incremental_sync: bool = Field(default=True, description="A scheduled sync reads changes only.")
    entities_off: list[EntityName] | None = Field(
        default=None,
        max_length=100,
        description="Entities that are not read; their rows stay. null: those off by default.",
    )
    entity_cycles: dict[EntityName, Annotated[int, Field(ge=0, le=8760)]] | None = Field(
        default=None,
        max_length=100,
        description="Hours between two reads of an entity's changes, by entity; 0: with every "
        "sync. null: the defaults.",
    )
    sync_persons: bool = Field(default=True, description="false: `entitiesOff` has persons.")
    sync_custom_fields: bool = Field(
        default=True, description="false: custom fields do not reach the views."
    )
    sweep_every_hours: int | None = Field(
        default=None, ge=1, le=8760, description="null: as often as its price allows."
    )
    budget_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="The part of the company's daily tokens that syncs may spend.",
    )
    daily_token_budget: int | None = Field(
        default=None,
        ge=1,
        le=9_007_199_254_740_991,
        description="The company's tokens a day; null: as the source says.",
    )
    alert_urls: list[AlertUrl] = Field(
        default=[],
        max_length=10,
        description="slack, discord, tgram, workflows (Teams), https (a webhook) or mailto. "
        "They are shown masked; a masked one that is sent back stays.",
    )
    erase_deleted_after_days: int | None = Field(
        default=None, ge=0, le=36_500, description="Days after a deletion; null: rows stay."
    )
    near_real_time: bool = Field(
        default=True,
        description="The CRM tells of changes at once, where it can reach APP_URL. false: changes "
        "are found by the next sync.",
    )
    writes_allowed: list[EntityName] = Field(
        default=[],
        max_length=100,
        description="Marts whose records may be written in the CRM, such as deals; all: every one. "
        "Empty: none.",
    )

    def changed(self) -> dict[str, Any]:
        """The fields that the request contains, by the names of `SyncConfig`."""
        sent = self.model_dump(exclude_unset=True)
        if "sync_time" in sent:
            sent["sync_time"] = time.fromisoformat(self.sync_time)
        return sent


class NextSyncs(Model):
    """When the schedule will sync the tenant next."""

    at: list[datetime] = Field(description="The next three times; none: it is not synced by itself")
    skipped_on: date | None = Field(
        description="The next day on which a change of clocks skips the time of the daily sync."
    )


class AlertTest(Model):
    """An alert that was sent to every address of the settings, to try them out."""

    addresses: int
    is_complete: bool = Field(description="Every address took it.")


class EntityStatus(Model):
    """The freshness and completeness of one entity."""

    name: str
    state: Literal["complete", "partial", "failed", "skipped", "paused", "off"]
    code: str | None = Field(description="Why its newest read is not complete; docs/failures.md.")
    reason: str | None = Field(description="The same as a sentence.")
    mart: str | None = Field(description="The table of `crm` that has its records.")
    rows: int | None = Field(description="Live rows of that table.")
    watermark: datetime | None = Field(description="Every change up to this instant is included.")
    last_read_at: datetime | None = Field(description="The start of the newest complete read.")
    last_sweep_at: datetime | None = Field(description="Deletions up to then are marked.")
    listed: int | None = Field(
        description="Live rows that there should be, by the last comparison with the source."
    )
    missing: int | None = Field(description="Records that the last comparison found missing here.")
    checked_at: datetime | None = Field(description="The instant of that comparison.")


class BudgetToday(Model):
    """The company's request budget of the day, and the tenant's share of it."""

    limit: int
    used: int
    left: int
    share: float
    resets_at: datetime
    resume_at: datetime | None = Field(description="When a paused sync continues.")


class NearRealTime(Model):
    """Whether the source tells of changes at once, and how long they take into `crm`."""

    state: Literal["off", "making", "live", "failing"]
    reason: str | None = Field(description="Why it is not live.")
    last_event_at: datetime | None = Field(description="The arrival of the newest event.")
    lag_seconds: float | None = Field(
        description="From the arrival of an event to its row: 95 of 100 events of the last hour."
    )
    lag_median_seconds: float | None = Field(description="The same for half of the events.")
    waiting_seconds: float | None = Field(
        description="Age of the oldest change that is not in a row yet."
    )


class Status(Connection):
    """A tenant's connection, data and syncs of one system."""

    entities: list[EntityStatus]
    near_real_time: NearRealTime | None = Field(description="null: not connected.")
    budget: BudgetToday
    last_run: Run | None
    current: list[Run] = Field(description="Runs and requests that run or wait, newest first.")
