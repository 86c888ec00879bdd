"""Bodies of the routes of sinks; names of sinks and of columns of the app are sent as they are."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from pipedrive_pipeline.connect.api.models import Model

SINKS_EXAMPLE: dict[str, Any] = {
    "customers": {
        "mart": "customers",
        "table": "app.customers",
        "columns": {"company": "name", "mail": {"from": "email", "as": "lower"}},
        "match_by": ["email", "domain"],
    }
}


class SinksText(Model):
    """Sinks to try."""

    sinks: dict[str, Any] = Field(
        description="Declarations by name, as in docs/sinks.md.", examples=[SINKS_EXAMPLE]
    )


class SinksIn(SinksText):
    """All sinks of a system, and the version that they replace (0: none)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sinks": {}, "version": 0}]})
    version: int = Field(ge=0, le=2_147_483_647)
    add_columns: bool = Field(
        default=False, description="Add the columns for link and time where a table lacks them."
    )


class SinkStateShown(Model):
    """How far a sink has come."""

    sink: str
    mart: str
    app_table: str
    state: Literal["new", "paused", "waiting", "fed", "failing"]
    fed_at: datetime | None = Field(description="When it was last fed without a fault.")
    counts: dict[str, int] | None = Field(description="Rows by outcome of the last run.")
    fault: dict[str, str] | None = Field(
        description="code, message, sqlstate, table, column, constraint; never a value."
    )
    fault_since: datetime | None
    refused_count: int = Field(description="Rows that the app's table refuses.")
    role: str | None = Field(description="The role with whose rights the table is written.")
    linked_count: int
    proposed_count: int = Field(description="Rows of the app whose match is not confirmed.")


class SinksShown(Model):
    """One version of the sinks; version 0: none was ever saved."""

    version: int
    sinks: dict[str, Any]
    saved_at: datetime | None
    saved_by: str | None


class SinksActive(SinksShown):
    """The sinks that are in use, with their states."""

    states: list[SinkStateShown]


class SinkPreviewRow(Model):
    """A row of the app before and after; values as text."""

    remote_id: str
    outcome: Literal["created", "updated", "unchanged", "missing", "refused"]
    before: dict[str, str | None] | None
    after: dict[str, str | None] | None


class SinkPreviewShown(Model):
    """What a sink would write; nothing was kept."""

    sink: str
    table: str
    rows: list[SinkPreviewRow]
    fault: str | None
    statements: list[str] = Field(description="SQL that adds the columns for link and time.")
    triggers: list[str]
    app_rows: int


class CandidateShown(Model):
    """A record that a row of the app may be."""

    remote_id: str
    name: str | None
    matched_by: str
    doubt: Literal["several", "contradicts"]


class AmbiguousRowShown(Model):
    """A row of the app that a person decides about."""

    app_key: str
    values: dict[str, str | None]
    candidates: list[CandidateShown]


class MatchReportShown(Model):
    """How the rows of the app and the records relate; nothing of the app was written."""

    sink: str
    linked: int
    matched: dict[str, int] = Field(description="Rows with one certain record, by rule.")
    ambiguous: int
    left_over: int = Field(description="Rows of the app without a record.")
    new: int = Field(description="Records without a row of the app; they are inserted.")
    listed: list[AmbiguousRowShown] = Field(description="The first 200 ambiguous rows.")


class ConfirmMatchesIn(Model):
    """Decisions about ambiguous rows."""

    choices: dict[str, str | None] = Field(
        default_factory=dict,
        description="By key of the app's row: the id of a candidate; null: none of them.",
    )


class ConfirmedShown(Model):
    """Rows that are linked now, and those that a person has yet to decide."""

    linked: int
    open: int


class UndoneShown(Model):
    """Rows of the app that have their values back."""

    rows: int
