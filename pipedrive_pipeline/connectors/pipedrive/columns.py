"""Columns that several kinds of records share, and the types of all columns.

Source: Pipedrive's OpenAPI files for v1 and v2 (https://developers.pipedrive.com/docs/api/v1,
read 2026-08).
"""

from __future__ import annotations

from pipedrive_pipeline.connectors.contract import Column, ColumnType

BIGINT, NUMERIC, TEXT = ColumnType.BIGINT, ColumnType.NUMERIC, ColumnType.TEXT
BOOLEAN, TIMESTAMP, JSON = ColumnType.BOOLEAN, ColumnType.TIMESTAMP, ColumnType.JSON

OWNER_ID = Column("owner_id", BIGINT, "User who owns the record; may point to a user who is gone.")
STAMPS = (
    Column("add_time", TIMESTAMP, "When the record was made in Pipedrive, UTC."),
    Column("update_time", TIMESTAMP, "When the record itself was last edited, UTC, whole seconds."),
)
VISIBLE_TO = Column(
    "visible_to", BIGINT, "Who may see it: 1 owner, 3 company or group, 5 and 7 by plan."
)
LABEL_IDS = Column(
    "label_ids",
    JSON,
    "Ids of labels, explained by the options of the label field.",
    shape="options",
)
CUSTOM_FIELDS = Column(
    "custom_fields", JSON, "Values of custom fields by field code; options as ids."
)
EXPECTED_CLOSE_DATE = Column(
    "expected_close_date", TEXT, "Day on which it should close, YYYY-MM-DD.", shape="day"
)
ARCHIVING = (
    Column("is_archived", BOOLEAN, "Whether it is archived, which is no deletion."),
    Column("archive_time", TIMESTAMP, "When it was archived, UTC."),
)
ORIGIN = (
    Column("origin", TEXT, "How it was made, such as ManuallyCreated, API, Import."),
    Column("origin_id", TEXT, "What made it, as its origin names it."),
    Column("channel", BIGINT, "Option id of the built-in field channel."),
    Column("channel_id", TEXT, "Id within the channel."),
)
PRICES = Column("prices", JSON, "Prices: price, currency, cost, direct_cost, notes.")
