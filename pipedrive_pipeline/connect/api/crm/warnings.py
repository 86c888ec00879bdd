"""Warnings of a write: what the CRM stored otherwise than sent, and what else it changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipedrive_pipeline.connect.api.crm.incoming import api_name, api_value
from pipedrive_pipeline.connect.api.crm.objects import fields_of, own_fields_of, resource_of
from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.sync.writes.steps import WriteOutcome


def warnings_of(declared: Mart, done: WriteOutcome) -> list[dict[str, Any]]:
    """The warnings of a write, with both values in the API's names and units."""
    return [*_stored_otherwise(declared, done), *_changed_by_system(declared, done)]


def _stored_otherwise(declared: Mart, done: WriteOutcome) -> Iterator[dict[str, Any]]:
    """Yields a warning for each value that was sent and is another one now."""
    resource = resource_of(declared)
    shown = {each.name: each for each in fields_of(declared)}
    sent = {column: before for column, (before, _) in done.changes.items()}
    row = done.row or {}
    values = {**row, **sent}
    for column in [each for each in sent if each in done.entry.sent_columns]:
        name, unit = api_name(declared, column), resource.percent_or_amount.get(column)
        if unit is not None and values.get(unit) != "percent":
            name = f"{name}_amount"
        yield {
            "field": name,
            "code": "stored_otherwise",
            "before": api_value(declared, column, values, done.entry.system),
            "after": shown[name].read(row) if name in shown else done.changes[column][1],
        }


def _changed_by_system(declared: Mart, done: WriteOutcome) -> Iterator[dict[str, Any]]:
    """Yields a warning for each field that was not sent and has another value now."""
    if done.before is None or done.row is None:
        return
    sent, times = {*done.entry.sent_columns}, {*resource_of(declared).times.values()}
    for each in own_fields_of(declared):
        is_sent = (each.name if each.name in times else each.columns[0]) in sent
        before, after = each.read(done.before), each.read(done.row)
        if not is_sent and before != after:
            yield {
                "field": each.name,
                "code": "changed_by_system",
                "before": before,
                "after": after,
            }
