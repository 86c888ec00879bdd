"""Custom fields of a write: the names under which they are read become entries of a body.

A name is first the column of a view that shows the field or a part of it, then the source's key,
then the label that people see. A value that cannot be set, such as a part that the source computes,
is accepted where the record has it already, so that what was read can be sent back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import psycopg

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import FieldKind, FieldType
from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.fields.columns import ViewColumn, stored_columns
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes import mart_rows
from pipedrive_pipeline.sync.writes.comparison import CUSTOM
from pipedrive_pipeline.sync.writes.forms import (
    CUSTOM_FORMS,
    WrongValue,
    any_text,
    numbered,
    option,
    options_of,
    plain,
    sent_twice,
)
from pipedrive_pipeline.sync.writes.terms import Terms

WHOLE: Final = ""  # the part of a field that is its value
# The key in the source's value of each part that is set with the others.
SET_TOGETHER: Final[Mapping[FieldKind, Mapping[str, str]]] = {
    "monetary": {"amount": "value", "currency": "currency"},
    "daterange": {"from": "value", "until": "until"},
    "timerange": {"from": "value", "until": "until"},
}
IDS: Final = ("id", "ids")  # parts that say the same as the value, as ids


@dataclass(frozen=True)
class CustomEntry:
    """What sets one custom field: its key, its kind, its checked value."""

    key: str
    kind: str
    value: Any


@dataclass
class SentParts:
    """What was sent for one field: name and value of each part."""

    definition: Field
    parts: dict[str, tuple[str, Any]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names under which it was sent."""
        return [name for name, _ in self.parts.values()]


@dataclass(frozen=True)
class CustomFields:
    """The custom fields of one mart's records.

    Attributes:
        connection: sees raw.
        scope: the tenant and system.
        mart: the records'.
        fields: every custom field of these records, removed ones included.
        terms: of the caller.
        remote_id: the record that is changed; None of a new one.
    """

    connection: psycopg.Connection
    scope: Scope
    mart: str
    fields: tuple[Field, ...]
    terms: Terms
    remote_id: str | None = None

    def entries(self, values: Mapping[str, Any]) -> tuple[list[CustomEntry], list[tuple[str, str]]]:
        """What sets these values by name; and the names that cannot be set, each with the issue."""
        issues: list[tuple[str, str]] = []
        sent: dict[str, SentParts] = {}
        for name, value in values.items():
            try:
                definition, part = self._field_and_part(name)
                _add(
                    sent.setdefault(definition.field_key, SentParts(definition)), part, name, value
                )
            except WrongValue as wrong:
                if not self._is_current({name: value}):
                    issues.append((name, str(wrong)))
        entries: list[CustomEntry] = []
        for each in sent.values():
            if not each.parts:  # its only name was refused
                continue
            try:
                entries += self._entries_of(each)
            except WrongValue as wrong:
                if not self._is_current(dict(each.parts.values())):
                    issues.append((each.names[0], str(wrong)))
        return entries, issues

    def key_of(self, name: str) -> str | None:
        """The key of the field with this name; None if it cannot be set."""
        try:
            return self._field_and_part(name)[0].field_key
        except WrongValue:
            return None

    def _field_and_part(self, name: str) -> tuple[Field, str]:
        """The field that a name refers to, and the part of it."""
        by_key = {each.field_key: each for each in self.fields}
        for column in self._columns:
            if column.column_name == name and column.field_key in by_key:
                definition = by_key[column.field_key]
                if column.is_retired or column.field_type != definition.field_type:
                    raise WrongValue("shows values of a type that the field no longer has")
                part = WHOLE if column.is_overflow else column.part
                return self._existing(definition), part
        if name in by_key:
            return self._existing(by_key[name]), WHOLE
        return self._labelled(name), WHOLE

    @staticmethod
    def _existing(definition: Field) -> Field:
        if definition.removed_at is not None:
            raise WrongValue("is a field that is gone in the CRM")
        return definition

    def _labelled(self, name: str) -> Field:
        """The field with this label, if there is only one."""
        existing = [each for each in self.fields if each.removed_at is None]
        named = [each for each in existing if each.field_name == name] or [
            each for each in existing if plain(each.field_name) == plain(name)
        ]
        if not named:
            raise WrongValue("is no custom field of these records")
        if len(named) > 1:
            choices = ", ".join(self._choice(each) for each in named)
            raise WrongValue(f"is the name of several fields; use one of: {choices}")
        return named[0]

    def _choice(self, definition: Field) -> str:
        """A name that means this field alone."""
        names = [self._name(definition, part) for part in ("", "amount", "from")]
        return next((name for name in names if name), definition.field_key)

    def _name(self, definition: Field, part: str) -> str | None:
        """The name under which a part of a field is read."""
        for column in self._columns:
            if (column.field_key, column.field_type, column.part) == (
                definition.field_key,
                definition.field_type,
                part,
            ):
                return column.column_name
        return None

    @cached_property
    def _columns(self) -> list[ViewColumn]:
        return stored_columns(self.connection, self.scope.tenant, self.mart, self.scope.system)

    @cached_property
    def _current(self) -> Mapping[str, Any]:
        """What the record has now, as it is read."""
        if self.remote_id is None:
            return {}
        row = mart_rows.row_of(self.connection, self.scope, self.mart, self.remote_id)
        return row[CUSTOM] if row else {}

    def _is_current(self, values: Mapping[str, Any]) -> bool:
        return all(
            name in self._current and self._current[name] == value for name, value in values.items()
        )

    def _entries_of(self, sent: SentParts) -> Iterator[CustomEntry]:
        """Yields what sets one field: nothing if the record has all of it and may not be set."""
        definition = sent.definition
        if not definition.is_writable:
            raise WrongValue("is read-only: the system alone sets it")
        kind = registry.system(self.scope.system).field_types.get(definition.field_type)
        if kind is None:
            raise WrongValue(f"has the type {definition.field_type}, which cannot be written")
        settable = {WHOLE, *SET_TOGETHER.get(kind.kind, {})}
        if kind.kind in {"enum", "choice", "set", "reference"}:
            settable |= set(IDS)
        computed = {part: both for part, both in sent.parts.items() if part not in settable}
        for name, value in computed.values():
            if not self._is_current({name: value}):
                choice = self._choice(definition)
                raise WrongValue(f"is computed by the system ({name}); write {choice}")
        parts = {part: both for part, both in sent.parts.items() if part in settable}
        # A part that the source computes would be lost by a write of the rest.
        if not parts or (computed and self._is_current(dict(parts.values()))):
            return
        yield CustomEntry(definition.field_key, kind.kind, self._value(definition, kind, parts))

    def _value(
        self, definition: Field, kind: FieldType, parts: Mapping[str, tuple[str, Any]]
    ) -> Any:
        together = SET_TOGETHER.get(kind.kind)
        if together is not None and WHOLE not in parts:
            return self._together(definition, kind, together, parts)
        if together is not None and len(parts) > 1:
            raise WrongValue(sent_twice([name for name, _ in parts.values()]))
        if kind.kind == "reference":
            return self._reference(kind, parts)
        ids = next((parts[part] for part in IDS if part in parts), None)
        if ids is None:
            return self._single(definition, kind, parts[WHOLE][1])
        chosen = self._single(definition, kind, ids[1])
        if WHOLE in parts and not _are_labels_of(parts[WHOLE][1], chosen, definition):
            raise WrongValue(sent_twice([parts[WHOLE][0], ids[0]]))
        return chosen

    def _together(
        self,
        definition: Field,
        kind: FieldType,
        together: Mapping[str, str],
        parts: Mapping[str, tuple[str, Any]],
    ) -> Any:
        """The value of a field whose parts are set together."""
        values = {together[part]: value for part, (_, value) in parts.items()}
        if "value" in values and all(value is None for value in values.values()):
            return None
        missing = [self._name(definition, part) or part for part in together if part not in parts]
        if missing:
            raise WrongValue(f"is set together with {' and '.join(missing)}")
        return CUSTOM_FORMS[kind.kind](values)

    def _reference(self, kind: FieldType, parts: Mapping[str, tuple[str, Any]]) -> Any:
        """The id of the record that is referred to; its name says nothing that can be set."""
        if "id" in parts:
            name, value = parts["id"]
            shown, label = parts.get(WHOLE, (name, value))
            if label != value and not self._is_current({shown: label}):
                raise WrongValue(sent_twice([shown, name]))
        else:
            _, value = parts[WHOLE]
        if value is None:
            return None
        referred = [x for x in mart_sources(self.scope.system) if x.entity == kind.refers_to]
        if not referred:
            raise WrongValue("refers to records that are not read")
        return CUSTOM_FORMS["reference"](self.terms.remote_id(referred[0].name, value))

    @staticmethod
    def _single(definition: Field, kind: FieldType, value: Any) -> Any:
        """The value of a field without parts."""
        if value is None:
            return None
        if kind.kind in {"enum", "choice"}:
            return option(numbered(definition.options), value)
        if kind.kind == "set":
            # The source refuses an empty list; null empties the field.
            return options_of(numbered(definition.options), value) or None
        if kind.length_max is not None:
            return any_text(value, kind.length_max)
        return CUSTOM_FORMS[kind.kind](value)


def _add(sent: SentParts, part: str, name: str, value: Any) -> None:
    """Adds what was sent for a part of a field."""
    if part in sent.parts:
        other, former = sent.parts[part]
        if former != value:
            raise WrongValue(sent_twice([other, name]))
        return
    sent.parts[part] = (name, value)


def _are_labels_of(value: Any, chosen: Any, definition: Field) -> bool:
    """True if a value names the options with these ids, by label or id."""
    labels = numbered(definition.options)
    names, ids = (each if isinstance(each, list) else [each] for each in (value, chosen))
    said = sorted(str(name).casefold() for name in names)
    return said in (
        sorted(str(labels.get(each)).casefold() for each in ids),
        sorted(str(each).casefold() for each in ids),
    )
