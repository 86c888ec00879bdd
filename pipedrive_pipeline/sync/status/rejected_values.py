"""The values and records that no column could hold, as a list for people and for a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.scope import Scope

COLUMNS: Final = (
    "entity",
    "record_id",
    "field",
    "field_name",
    "target",
    "value",
    "reason",
    "first_seen_at",
    "last_seen_at",
)
# Spreadsheets take a text that begins with one of these for a formula.
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class RejectedValue:
    """One row of `integration.rejected_values`, with the name of its field."""

    id: int
    entity: str
    record_id: str | None
    field: str | None
    field_name: str | None
    target: str | None
    value: str | None
    reason: str
    first_seen_at: datetime
    last_seen_at: datetime


def rejected_values(
    connection: psycopg.Connection, scope: Scope, *, after: int = 0, limit: int
) -> list[RejectedValue]:
    """Returns the listed values in the order in which they were first seen.

    Args:
        connection: a transaction of the tenant.
        scope: the tenant and system.
        after: id of the last one of the page before.
        limit: at most as many.
    """
    values = {
        "tenant": scope.tenant.slug,
        "system": scope.system,
        "after": after,
        "limit": limit,
    }
    cursor = connection.cursor(row_factory=class_row(RejectedValue))
    return cursor.execute(_LISTED, values).fetchall()


def rejected_count(connection: psycopg.Connection, scope: Scope) -> int:
    """Returns how many are listed."""
    row = connection.execute(_COUNT, [scope.tenant.slug, scope.system]).fetchone()
    return row[0] if row else 0


def as_csv(rows: Iterable[RejectedValue]) -> Iterator[str]:
    """Yields the lines of a CSV file with a heading; no cell is a formula."""
    yield _line(COLUMNS)
    for row in rows:
        yield _line(_cell(getattr(row, name)) for name in COLUMNS)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


_LISTED = """
select
    rejected_values.id,
    rejected_values.entity,
    rejected_values.record_id,
    rejected_values.field,
    fields.field_name,
    rejected_values.target,
    rejected_values.value,
    rejected_values.reason,
    rejected_values.first_seen_at,
    rejected_values.last_seen_at
from integration.rejected_values
left join integration.fields
    on fields.tenant_id = rejected_values.tenant_id
    and fields.system = rejected_values.system
    and fields.entity = rejected_values.entity
    and fields.field_key = rejected_values.field
where rejected_values.tenant_id = %(tenant)s
    and rejected_values.system = %(system)s
    and rejected_values.id > %(after)s
order by rejected_values.id asc
limit %(limit)s
"""
_COUNT = """
select count(*)
from integration.rejected_values
where rejected_values.tenant_id = %s
    and rejected_values.system = %s
"""
