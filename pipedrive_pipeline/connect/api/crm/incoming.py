"""Turns what a caller sends for a record into values by the mart's columns, and back for errors.

The names and units are those of the objects that are read (`objects.py`), by the same declaration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import psycopg

from pipedrive_pipeline.connect.api.crm import reading
from pipedrive_pipeline.connect.api.crm.ids import RemoteId, parsed, shown_remote
from pipedrive_pipeline.connect.api.crm.objects import entries_name, resource_of
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.marts.declared import ApiResource, Link, Mart, mart
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes.errors import WriteError, WriteInvalid
from pipedrive_pipeline.sync.writes.forms import WrongValue, decimal_of, json_number, sent_twice
from pipedrive_pipeline.sync.writes.terms import Terms
from pipedrive_pipeline.warehouse.database import Warehouse

PERCENT: Final = Decimal(100)
CUSTOM: Final = "custom_fields"
VERSIONS: Final = ("yours", "current")  # of a value in the details of a conflict
Issues = list[dict[str, str]]


@dataclass
class Incoming:
    """What a body says."""

    values: dict[str, Any] = field(default_factory=dict)  # by column of the mart
    names: dict[str, str] = field(default_factory=dict)  # under which each column was sent
    custom: dict[str, Any] = field(default_factory=dict)
    issues: Issues = field(default_factory=list)

    def put(self, column: str, name: str, value: Any) -> None:
        """Adds the value of a column; another name with another value is refused."""
        if column in self.values and _texts_of(self.values[column]) != _texts_of(value):
            issue = sent_twice([self.names[column], name])
            self.issues.append({"field": name, "issue": issue})
            return
        if column not in self.values or _has_entries(value):
            self.values[column], self.names[column] = value, name


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
    resource = resource_of(declared)
    links = {name: x for x in declared.links for name in (x.name, resource.name_of(x.name))}
    for name, value in body.items():
        if name == CUSTOM:
            _custom(done, value)
        elif name in links:
            done.put(links[name].name, name, value)
            linked[links[name].name] = links[name]
        elif not _is_other_form(declared, name, body):
            _column(done, declared, name, value)
    for column, link in linked.items():
        text = done.values[column]
        try:
            if text is not None:
                target = mart(link.mart)
                done.values[column] = remote_id_of(connection, scope, target, str(text))
        except NotFound as error:
            issue = f"refers to nothing: {error}"
            done.issues.append({"field": done.names[column], "issue": issue})
    if done.issues:
        raise WriteInvalid.of(done.issues)
    return done


@dataclass(frozen=True)
class ApiTerms(Terms):
    """Names, units and ids of the API, and what its caller may see."""

    warehouse: Warehouse
    caller: Caller
    scope: Scope
    declared: Mart

    def name_of(self, column: str) -> str:
        """See `Terms`."""
        return api_name(self.declared, column)

    def unit_of(self, column: str) -> int:
        """See `Terms`."""
        return int(PERCENT) if column in resource_of(self.declared).fractions else 1

    def remote_id(self, mart_name: str, value: Any) -> str:
        """See `Terms`; a bare number is an id in the system."""
        text = super().remote_id(mart_name, value)
        wanted = shown_remote(self.scope.system, text) if text.isdecimal() else text
        with reading.as_caller(self.warehouse, self.caller) as connection:
            try:
                return remote_id_of(connection, self.scope, mart(mart_name), wanted)
            except NotFound as error:
                raise WrongValue(f"refers to nothing: {error}") from None


def api_name(declared: Mart, column: str) -> str:
    """The API's name of a column."""
    resource = resource_of(declared)
    for name in resource.times.values():
        if column == name:
            return name
    return resource.name_of(column)


@contextmanager
def in_api_names(declared: Mart, system: str | None = None) -> Iterator[None]:
    """Gives the details of a refused write in the API's names and units; see `rename`."""
    try:
        yield
    except WriteError as error:
        rename(error, declared, system)
        raise


def rename(error: WriteError, declared: Mart, system: str | None = None) -> None:
    """Gives an error's details in the API's names and units.

    Args:
        error: by the columns of the mart.
        declared: the mart.
        system: whose ids the values of links are; None: they stay as they are.
    """
    details = {each["field"]: dict(each) for each in error.details}
    for each in error.details:
        for version in VERSIONS:
            if each.get(version):
                row = {column: both.get(version) for column, both in details.items()}
                each[version] = str(api_value(declared, each["field"], row, system))
        each["field"] = api_name(declared, each["field"])


def api_value(declared: Mart, column: str, row: Mapping[str, Any], system: str | None) -> Any:
    """A value as a write has it by column, in the API's units and ids.

    Args:
        declared: the mart.
        column: of which.
        row: the values by column; of a link the other record's id in the system.
        system: whose ids those are; None: they stay as they are.
    """
    resource, value = resource_of(declared), row[column]
    if value is None:
        return None
    unit = resource.percent_or_amount.get(column)
    if column in resource.fractions or (unit is not None and row.get(unit) == "percent"):
        return json_number(Decimal(str(value)) / PERCENT)
    if system is not None and column in {link.name for link in declared.links}:
        return shown_remote(system, str(value))
    return value


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
        if name in _forms_of(resource, column):
            is_fraction = name == resource.name_of(column)
            done.put(column, name, _share(done, name, value) if is_fraction else value)
            done.put(unit, name, "percent" if is_fraction else "amount")
            return
    column = columns.get(name, name)
    done.put(column, name, _percent(value) if column in resource.fractions else value)


def _forms_of(resource: ApiResource, column: str) -> tuple[str, str]:
    """The names of a column that is a fraction or an amount."""
    shown = resource.name_of(column)
    return shown, f"{shown}_amount"


def _is_other_form(declared: Mart, name: str, body: Mapping[str, Any]) -> bool:
    """True of the form that is empty, as it is read, where the other one has the value."""
    resource = resource_of(declared)
    for forms in (_forms_of(resource, column) for column in resource.percent_or_amount):
        if name in forms:
            return body[name] is None and any(body.get(form) is not None for form in forms)
    return False


def _texts_of(value: Any) -> Any:
    """A list of texts, or of entries with them, as its texts; anything else as it is."""
    if not isinstance(value, list):
        return value
    return [each.get("value") if isinstance(each, Mapping) else each for each in value]


def _has_entries(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(each, Mapping) for each in value)


def _share(done: Incoming, name: str, value: Any) -> Any:
    """A fraction of a price in percent; one that is no share of it is refused."""
    percent = _percent(value)
    if isinstance(percent, int | float) and not 0 <= percent <= PERCENT:
        done.issues.append({"field": name, "issue": "must be between 0 and 1"})
    return percent


def _percent(value: Any) -> Any:
    """A fraction in percent; what is no number stays, and is refused later."""
    try:
        return json_number(decimal_of(value) * PERCENT)
    except WrongValue:
        return value
