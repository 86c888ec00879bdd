"""Sinks: tables that an app has already, fed from the marts after they are committed.

Belongs here: the form of a declaration and its checks, the role and functions of a sink, feeding,
preview, matching of rows that the app has. Does not belong here: the marts (`marts/build.py`), when
a sink is fed (`sync/`).
"""

from __future__ import annotations

from pipedrive_pipeline.marts.sinks.adoption import Confirmed, Undone, confirm, undo
from pipedrive_pipeline.marts.sinks.faults import SinkFailed
from pipedrive_pipeline.marts.sinks.feeding import SinkFed, feed_sinks
from pipedrive_pipeline.marts.sinks.form import BadSink, Sink
from pipedrive_pipeline.marts.sinks.matching import MatchReport, match, match_report
from pipedrive_pipeline.marts.sinks.preview import SinkPreview, preview, preview_facts
from pipedrive_pipeline.marts.sinks.store import (
    SinksOutdated,
    SinkState,
    SinksVersion,
    active,
    save,
    sink_of,
    state_facts,
    states,
    versions,
)
from pipedrive_pipeline.marts.sinks.writer import SinkRightsMissing

__all__ = [
    "BadSink",
    "Confirmed",
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
    "active",
    "confirm",
    "feed_sinks",
    "match",
    "match_report",
    "preview",
    "preview_facts",
    "save",
    "sink_of",
    "state_facts",
    "states",
    "undo",
    "versions",
]
