"""The value of a match in a new record: without it the same request would make another one.

A record that is found is not changed by the value, since it has it, or is known by the app's own
key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import psycopg

from pipedrive_pipeline.connectors.writing import WriteSpec
from pipedrive_pipeline.marts.fields.catalogue import fields_of
from pipedrive_pipeline.marts.mapping.store import active
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes.custom_fields import CustomFields
from pipedrive_pipeline.sync.writes.errors import WriteInvalid
from pipedrive_pipeline.sync.writes.matching import EXTERNAL_KEY, By, Match, is_same
from pipedrive_pipeline.sync.writes.validation import CUSTOM

# The column in which a match looks, where the record has no list of such values.
COLUMNS: Final[Mapping[By, str]] = MappingProxyType(
    {
        "email": "email",
        "phone": "phone",
        "domain": "website",
        "customer_number": "customer_number",
    }
)
OTHER_WAYS: Final = "or send an external_key, or the policy update_only"


@dataclass(frozen=True)
class RecordValues:
    """What a record is made from: values by column of the mart, and of custom fields by name."""

    values: Mapping[str, Any]
    custom: Mapping[str, Any]


def with_match_value(
    connection: psycopg.Connection,
    scope: Scope,
    spec: WriteSpec,
    match: Match,
    sent: RecordValues,
    *,
    custom_fields: CustomFields,
) -> RecordValues:
    """What a new record is made from, so that the match finds it: what was sent, and the value.

    Args:
        connection: in a transaction.
        scope: the tenant and system.
        spec: of the create.
        match: that found no record.
        sent: what the request says.
        custom_fields: of these records.

    Raises:
        WriteInvalid: the match would not find the record, nor has it a key of the app's.
    """
    if match.by == EXTERNAL_KEY:
        return sent
    is_value, column = is_same(connection, scope, match), COLUMNS[match.by]
    try:
        if f"{match.by}s" in spec.by_column:
            return _listed(sent, f"{match.by}s", match.value, is_value)
        if column in spec.by_column:
            return _single(sent, column, match.value, is_value)
        if match.by == "domain":
            return _by_address(sent, is_value)
        key = _mapped_key(connection, scope, spec, column)
        return _mapped(sent, key, match, is_value, custom_fields=custom_fields)
    except _NotFoundAgain as error:
        if match.own_key is not None:  # which finds it
            return sent
        issue = f"{error.issue}, {OTHER_WAYS}"
        details = [{"field": error.field, "issue": issue}]
        raise WriteInvalid(f"{error.field} {issue}. No call was made.", details) from None


class _NotFoundAgain(Exception):
    """The match would not find the new record: the field, and what to do."""

    def __init__(self, field: str, issue: str) -> None:
        self.field, self.issue = field, issue


def _listed(
    sent: RecordValues, column: str, value: str, is_value: Callable[[str], bool]
) -> RecordValues:
    """The value is one of a list; another entry that was sent stays the primary one."""
    entries = sent.values.get(column) or []
    if not isinstance(entries, list) or any(is_value(text) for text in _texts(entries)):
        return sent
    return RecordValues({**sent.values, column: [*entries, value.strip()]}, sent.custom)


def _single(
    sent: RecordValues, column: str, value: str, is_value: Callable[[str], bool]
) -> RecordValues:
    given = sent.values.get(column)
    if given in (None, ""):
        return RecordValues({**sent.values, column: value.strip()}, sent.custom)
    if not is_value(str(given)):
        raise _other_value(column)
    return sent


def _by_address(sent: RecordValues, is_value: Callable[[str], bool]) -> RecordValues:
    """A person has a domain by an e-mail address only."""
    entries = sent.values.get("emails")
    if isinstance(entries, list) and any(is_value(text) for text in _texts(entries)):
        return sent
    raise _NotFoundAgain("match", "domain needs an address of this domain in emails")


def _mapped(
    sent: RecordValues,
    key: str | None,
    match: Match,
    is_value: Callable[[str], bool],
    *,
    custom_fields: CustomFields,
) -> RecordValues:
    """The value is in the custom field that a field mapping reads."""
    column = COLUMNS[match.by]
    if key is None:
        raise _NotFoundAgain(
            "match",
            f"{match.by} finds nothing, since no field mapping fills {column}: map a custom field "
            "to it (PUT /api/integrations/{system}/field-mapping)",
        )
    names = [name for name in sent.custom if custom_fields.key_of(name) == key]
    given = next((sent.custom[name] for name in names), None)
    if given in (None, ""):
        kept = {name: value for name, value in sent.custom.items() if name not in names}
        return RecordValues(sent.values, {**kept, key: match.value.strip()})
    if not is_value(str(given)):
        raise _other_value(f"{CUSTOM}.{names[0]}")
    return sent


def _mapped_key(
    connection: psycopg.Connection, scope: Scope, spec: WriteSpec, column: str
) -> str | None:
    """The key of the custom field that fills a column first; None if no mapping names one."""
    keys = {
        each.field_key
        for each in fields_of(connection, scope)
        if each.entity == spec.entity and each.is_custom and each.removed_at is None
    }
    for entry in active(connection, scope).mapping.of(spec.entity):
        if entry.target == column and entry.part is None and entry.field_key in keys:
            return entry.field_key
    return None


def _texts(entries: list[Any]) -> list[str]:
    values = [each.get("value") if isinstance(each, Mapping) else each for each in entries]
    return [each for each in values if isinstance(each, str)]


def _other_value(field: str) -> _NotFoundAgain:
    return _NotFoundAgain(field, "has another value than the one that is looked for: give the same")
