"""Turns what a caller sends for a record into values by the mart's columns, and back for errors.

The names and units are those of the objects that are read (`objects.py`), by the same declaration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import psycopg

from pipedrive_pipeline.connect.api.crm import reading
from pipedrive_pipeline.connect.api.crm.ids import RemoteId, parsed
from pipedrive_pipeline.connect.api.crm.objects import entries_name, resource_of
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.marts.declared import Link, Mart, mart
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes.errors import WriteError, WriteInvalid

PERCENT: Final = Decimal(100)
CUSTOM: Final = "custom_fields"
Issues = list[dict[str, str]]


@dataclass
class Incoming:
    """What a body says."""

    values: dict[str, Any] = field(default_factory=dict)  # by column of the mart
    custom: dict[str, Any] = field(default_factory=dict)
    issues: Issues = field(default_factory=list)


def incoming(
    connection: psycopg.Connection, scope: Scope, declared: Mart, body: Mapping[str, Any]
) -> Incoming:
    """The values of a body.

    Args:
        connection: sees what the caller may see; links are looked up with it.
        scope: the tenant and system.
        declared: the mart of the record.
        body: as sent.

    Raises:
        WriteInvalid: a link to a record that the caller cannot see, or a field of another type.
    """
    done = Incoming()
    linked: dict[str, Link] = {}
    links = {resource_of(declared).name_of(link.name): link for link in declared.links}
    for name, value in body.items():
        if name == CUSTOM:
            _custom(done, value)
        elif name in links:
            done.values[links[name].name] = value
            linked[name] = links[name]
        else:
            _column(done, declared, name, value)
    for name, link in linked.items():
        text = done.values[link.name]
        try:
            if text is not None:
                target = mart(link.mart)
                done.values[link.name] = remote_id_of(connection, scope, target, str(text))
        except NotFound as error:
            done.issues.append({"field": name, "issue": f"refers to nothing: {error}"})
    if done.issues:
        first = done.issues[0]
        raise WriteInvalid(f"{first['field']} {first['issue']}. No call was made.", done.issues)
    return done


def api_name(declared: Mart, column: str) -> str:
    """The API's name of a column."""
    resource = resource_of(declared)
    for name in resource.times.values():
        if column == name:
            return name
    return resource.name_of(column)


@contextmanager
def in_api_names(declared: Mart) -> Iterator[None]:
    """Names the fields of a refused write as the API does."""
    try:
        yield
    except WriteError as error:
        rename(error, declared)
        raise


def rename(error: WriteError, declared: Mart) -> None:
    """Names the fields in an error's details as the API does."""
    for each in error.details:
        each["field"] = api_name(declared, each["field"])


def _custom(done: Incoming, value: Any) -> None:
    if isinstance(value, Mapping):
        done.custom = dict(value)
    else:
        done.issues.append({"field": CUSTOM, "issue": "must be an object of values by name"})


def remote_id_of(connection: psycopg.Connection, scope: Scope, declared: Mart, text: str) -> str:
    """The id in the system of a record that the caller may see.

    Raises:
        NotFound: there is none with this id, or it is another system's, or it is gone.
    """
    wanted = parsed(text, resource_of(declared))
    row = reading.row_of(connection, scope.tenant, declared, wanted)
    if isinstance(wanted, RemoteId) and wanted.system != scope.system:
        row = None
    if row is None or row["system"] != scope.system or row["deleted_at"] is not None:
        raise NotFound(f"nothing of {resource_of(declared).path} has the id {text[:64]!r}.")
    return str(row["remote_id"])


def _column(done: Incoming, declared: Mart, name: str, value: Any) -> None:
    resource = resource_of(declared)
    columns = {resource.name_of(column.name): column.name for column in declared.columns}
    for column in resource.entries:
        columns[entries_name(resource.name_of(column))] = column
    for column, unit in resource.percent_or_amount.items():
        shown = resource.name_of(column)
        if name in {shown, f"{shown}_amount"}:
            is_fraction = name == shown
            done.values[column] = _percent(value) if is_fraction else value
            done.values[unit] = "percent" if is_fraction else "amount"
            return
    column = columns.get(name, name)
    done.values[column] = _percent(value) if column in resource.fractions else value


def _percent(value: Any) -> Any:
    """A fraction in percent; anything else stays, and is refused later."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        percent = Decimal(str(value)) * PERCENT
    except InvalidOperation:
        return value
    return int(percent) if percent == percent.to_integral_value() else float(percent)
