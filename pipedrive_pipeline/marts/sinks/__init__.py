"""Sinks: tables that an app has already, fed from the marts after they are committed.

Belongs here: the form of a declaration and its checks, the role and functions of a sink, feeding,
preview, matching of rows that the app has. Does not belong here: the marts (`marts/build.py`), when
a sink is fed (`sync/`).
"""

from __future__ import annotations

from pipedrive_pipeline.marts.mapping.form import Issue
from pipedrive_pipeline.marts.sinks.adoption import Confirmed, Undone, confirm, undo
from pipedrive_pipeline.marts.sinks.app_table import (
    AppTable,
    app_table,
    app_table_named,
    app_tables,
)
from pipedrive_pipeline.marts.sinks.faults import SinkFailed
from pipedrive_pipeline.marts.sinks.feeding import SinkFed, feed_sinks
from pipedrive_pipeline.marts.sinks.form import CONVERSIONS, BadSink, Sink, Value
from pipedrive_pipeline.marts.sinks.match_reports import MatchReport, match_report
from pipedrive_pipeline.marts.sinks.match_rules import rules_of
from pipedrive_pipeline.marts.sinks.matching import match
from pipedrive_pipeline.marts.sinks.parsing import NAME_PATTERN, parsed
from pipedrive_pipeline.marts.sinks.preview import SinkPreview, preview, preview_facts
from pipedrive_pipeline.marts.sinks.states import SinkState, state_facts, states
from pipedrive_pipeline.marts.sinks.store import (
    SinksOutdated,
    SinksVersion,
    active,
    save,
    sink_of,
    versions,
)
from pipedrive_pipeline.marts.sinks.writer import SinkRightsMissing

__all__ = [
    "CONVERSIONS",
    "NAME_PATTERN",
    "AppTable",
    "BadSink",
    "Confirmed",
    "Issue",
    "MatchReport",
    "Sink",
    "SinkFailed",
    "SinkFed",
    "SinkPreview",
    "SinkRightsMissing",
    "SinkState",
    "SinksOutdated",
    "SinksVersion",
    "Undone",
    "Value",
    "active",
    "app_table",
    "app_table_named",
    "app_tables",
    "confirm",
    "feed_sinks",
    "match",
    "match_report",
    "parsed",
    "preview",
    "preview_facts",
    "rules_of",
    "save",
    "sink_of",
    "state_facts",
    "states",
    "undo",
    "versions",
]
