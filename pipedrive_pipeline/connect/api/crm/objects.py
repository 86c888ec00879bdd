"""Turns a row of a mart into the object that the CRM API shows, by the mart's declaration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal

from pipedrive_pipeline.connect.api.crm import ids
from pipedrive_pipeline.marts.declared import ApiResource, DeclaredColumn, Link, Mart, mart

Row = Mapping[str, Any]  # of a mart, by column
Kind = Literal[
    "id", "text", "number", "integer", "boolean", "instant", "day", "time", "texts", "entries",
    "object",
]  # fmt: skip
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "text": "text",
        "numeric": "number",
        "bigint": "integer",
        "boolean": "boolean",
        "timestamptz": "instant",
        "date": "day",
        "interval": "time",
        "text[]": "texts",
        "jsonb": "entries",
        "uuid": "id",
    }
)
PERCENT: Final = Decimal(100)


@dataclass(frozen=True)
class ApiField:
    """One field of an object.

    Attributes:
        name: in the API.
        kind: of its values.
        comment: what it is, in a sentence or two.
        columns: of the mart, that it is made from; the first has its value.
        read: gives its value for a row.
        refers_to: the mart of the record whose id it is.
    """

    name: str
    kind: Kind
    comment: str
    columns: tuple[str, ...]
    read: Callable[[Row], Any]
    refers_to: Mart | None = None


def as_object(declared: Mart, row: Row, custom_fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the object of a row, by the API's names.

    Args:
        declared: the row's mart, which has an `ApiResource`.
        row: by column; needs the columns of `columns_of`.
        custom_fields: by readable name (`marts.views.custom_values`).
    """
    shown = {each.name: each.read(row) for each in fields_of(declared)}
    shown["custom_fields"] = {**row["attributes"], **custom_fields}
    return shown


@cache
def fields_of(declared: Mart) -> tuple[ApiField, ...]:
    """Returns the fields of a mart's objects in order, without `custom_fields`."""
    return (_own_id(resource_of(declared)), *own_fields_of(declared), *_COMMON)


@cache
def own_fields_of(declared: Mart) -> tuple[ApiField, ...]:
    """Returns the fields that say something of the record itself, in order."""
    resource, fields = resource_of(declared), list[ApiField]()
    for link in declared.links:
        fields += _link_fields(resource, link)
    for column in declared.columns:
        fields += _column_fields(resource, column)
    return tuple(fields)


@cache
def columns_of(declared: Mart) -> tuple[str, ...]:
    """Returns the mart's columns that its objects are made from."""
    columns = [column for each in fields_of(declared) for column in each.columns]
    return tuple(dict.fromkeys((*columns, "attributes", "system", "remote_id")))


def resource_of(declared: Mart) -> ApiResource:
    """Returns the API's declaration of a mart.

    Raises:
        LookupError: the CRM API does not show it.
    """
    if declared.api is None:
        raise LookupError(f"the CRM API does not show {declared.name}")
    return declared.api


def _own_id(resource: ApiResource) -> ApiField:
    return ApiField(
        "id",
        "id",
        f"Id of the record: {resource.id_prefix}_ and 32 digits; stays the same.",
        ("id",),
        lambda row: ids.shown(resource, row["id"]),
    )


def _link_fields(resource: ApiResource, link: Link) -> Iterator[ApiField]:
    target = mart(link.mart)
    if target.api is not None:
        linked, name = target.api, link.name

        def read(row: Row) -> str | None:
            if row[name] is not None:
                return ids.shown(linked, row[name])
            remote_id = row[link.remote_column]
            return None if remote_id is None else ids.shown_remote(row["system"], remote_id)

        yield ApiField(
            resource.name_of(name),
            "id",
            f"Id in {linked.path}; the id in the system where that record was never read.",
            (name, link.remote_column),
            read,
            refers_to=target,
        )
    for _, column in link.shows:
        yield _plain(resource, column)


def _column_fields(resource: ApiResource, column: DeclaredColumn) -> Iterator[ApiField]:
    """Yields the fields that show a column: itself in the API's units, and what is made from it."""
    name = column.name
    if name in {part for parts in resource.parts.values() for part in parts}:
        return
    if name in resource.fractions:
        yield _fraction(resource, column)
    elif name in resource.percent_or_amount:
        yield from _fraction_or_amount(resource, column, resource.percent_or_amount[name])
    elif name in resource.entries:
        yield from _values_and_entries(resource, column)
    elif name in resource.parts:
        yield from _text_and_parts(resource, column)
    else:
        yield _plain(resource, column)
    if name in resource.times:
        yield ApiField(
            resource.times[name],
            "time",
            "Time of the day (HH:MM, UTC); empty where only a day is known.",
            (name,),
            lambda row: None if row[name] is None else f"{row[name]:%H:%M}",
        )


def _plain(resource: ApiResource, column: DeclaredColumn) -> ApiField:
    name = column.name
    return ApiField(
        resource.name_of(name),
        KINDS[column.type],
        column.comment,
        (name,),
        lambda row: _value(row[name]),
    )


def _fraction(resource: ApiResource, column: DeclaredColumn) -> ApiField:
    name = column.name
    return ApiField(
        resource.name_of(name),
        "number",
        f"{column.comment.replace(' in percent', '')} As a fraction: 0.25 is 25 percent.",
        (name,),
        lambda row: None if row[name] is None else _value(row[name] / PERCENT),
    )


def _fraction_or_amount(
    resource: ApiResource, column: DeclaredColumn, unit: str
) -> Iterator[ApiField]:
    name = column.name

    def fraction(row: Row) -> Any:
        is_percent = row[unit] == "percent" and row[name] is not None
        return _value(row[name] / PERCENT) if is_percent else None

    def amount(row: Row) -> Any:
        return None if row[unit] == "percent" else _value(row[name])

    shown = resource.name_of(name)
    yield ApiField(
        shown,
        "number",
        f"As a fraction: 0.25 is 25 percent; empty where it is an amount ({shown}_amount).",
        (name, unit),
        fraction,
    )
    yield ApiField(
        f"{shown}_amount",
        "number",
        f"As an amount of money; empty where it is a fraction ({shown}).",
        (name, unit),
        amount,
    )


def _values_and_entries(resource: ApiResource, column: DeclaredColumn) -> Iterator[ApiField]:
    name, shown = column.name, resource.name_of(column.name)
    yield ApiField(
        shown,
        "texts",
        f"Their values, in the order of the source; {entries_name(shown)} has the full entries.",
        (name,),
        lambda row: [entry["value"] for entry in row[name] if entry.get("value")],
    )
    yield ApiField(entries_name(shown), "entries", column.comment, (name,), lambda row: row[name])


def entries_name(shown: str) -> str:
    """Returns the name of the field with full entries: `email_entries` for `emails`."""
    return f"{shown.removesuffix('s')}_entries"


def _text_and_parts(resource: ApiResource, column: DeclaredColumn) -> Iterator[ApiField]:
    name, shown, parts = column.name, resource.name_of(column.name), resource.parts[column.name]

    def joined(row: Row) -> str | None:
        return row[name] or ", ".join(row[part] for part in parts if row[part]) or None

    yield ApiField(
        shown,
        "text",
        f"As it was typed, else its parts joined; {shown}_parts has them.",
        (name, *parts),
        joined,
    )
    yield ApiField(
        f"{shown}_parts",
        "object",
        f"{', '.join(parts)}; each empty where the source has no parts.",
        parts,
        lambda row: {part: row[part] for part in parts},
    )


def _value(value: Any) -> Any:
    """Returns a value as JSON has it: numbers as numbers, durations as HH:MM."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, timedelta):
        minutes = round(value.total_seconds() / 60)
        return f"{minutes // 60:02}:{minutes % 60:02}"
    return value


def _merged_into(row: Row) -> str | None:
    remote_id = row["merged_into_remote_id"]
    return None if remote_id is None else ids.shown_remote(row["system"], remote_id)


def _column(name: str, column: str, kind: Kind, comment: str) -> ApiField:
    return ApiField(name, kind, comment, (column,), lambda row: row[column])


_COMMON: Final = (
    _column("system", "system", "text", "The CRM; empty for a record that the app made."),
    _column("remote_id", "remote_id", "text", "Id of the record in that CRM."),
    ApiField(
        "created_at",
        "instant",
        "When the record was made in the CRM, or the row in the table where that is not known.",
        ("remote_created_at", "created_at"),
        lambda row: row["remote_created_at"] or row["created_at"],
    ),
    _column("changed_at", "changed_at", "instant", "When it was last changed in the CRM."),
    _column(
        "updated_at",
        "updated_at",
        "instant",
        "When it was last written in the table: follow changes by it (`updated_since`).",
    ),
    _column("deleted_at", "deleted_at", "instant", "When it was gone; empty while it is there."),
    _column(
        "deletion_reason",
        "deletion_reason",
        "text",
        "Why it is gone: deleted, merged, converted, invisible, company_changed.",
    ),
    ApiField(
        "merged_into_id",
        "id",
        "Id in the CRM of the record that it was merged into.",
        ("merged_into_remote_id", "system"),
        _merged_into,
    ),
)
