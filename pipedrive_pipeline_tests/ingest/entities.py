"""An entity with a column of every type, so that no test depends on Pipedrive's."""

from __future__ import annotations

from datetime import timedelta

from pipedrive_pipeline.connectors.contract import (
    ChangedSince,
    Column,
    ColumnType,
    Cost,
    Entity,
    Snapshot,
)

SYSTEM = "pipedrive"
COLUMNS = (
    Column("changed_at", ColumnType.TIMESTAMP, "When it changed."),
    Column("whole", ColumnType.BIGINT, "A whole number."),
    Column("exact", ColumnType.NUMERIC, "A decimal number."),
    Column("words", ColumnType.TEXT, "A text."),
    Column("yes", ColumnType.BOOLEAN, "A truth."),
    Column("tree", ColumnType.JSON, "Anything."),
)
THINGS = Entity(
    name="things",
    label="Things",
    key=Column("id", ColumnType.BIGINT, "Number of the thing."),
    columns=COLUMNS,
    read=ChangedSince("changed_at", timedelta(minutes=5)),
    cost=Cost(1, 500),
    description="Things that change.",
)
LABELS = Entity(
    name="labels",
    label="Labels",
    key=Column("code", ColumnType.TEXT, "Code of the label."),
    columns=(Column("words", ColumnType.TEXT, "A text."),),
    read=Snapshot(),
    cost=Cost(1, 500),
    description="Labels, always read whole.",
)
