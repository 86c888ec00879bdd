"""Checks values by the source's own field definitions, and makes the body of the call of them.

No call is made: definitions, options and rows come from the tables of the last sync.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import ColumnType
from pipedrive_pipeline.connectors.writing import Body, WriteField, WriteSpec
from pipedrive_pipeline.marts.fields.catalogue import Field, fields_of
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes.errors import WriteInvalid
from pipedrive_pipeline.sync.writes.forms import (
    CUSTOM_FORMS,
    FORMS,
    WrongValue,
    choice,
    numbered,
    option,
    plain,
)

CUSTOM: Final = "custom_fields"
Issues = list[dict[str, str]]


@dataclass
class Checked:
    """The body of a call, and what it says in the columns of the mart."""

    body: Body = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)  # by column, as the caller gave them
    issues: Issues = field(default_factory=list)

    def note(self, name: str, issue: str) -> None:
        """Adds what is wrong with a field."""
        self.issues.append({"field": name, "issue": issue})


class Check:
    """The checks of one operation; definitions are read once, and only if a field needs them."""

    def __init__(
        self, connection: psycopg.Connection, scope: Scope, mart: str, spec: WriteSpec
    ) -> None:
        self._connection, self._scope, self._mart, self._spec = connection, scope, mart, spec
        self._fields: list[Field] | None = None

    def checked(
        self, values: Mapping[str, Any], custom: Mapping[str, Any], *, is_new: bool
    ) -> Checked:
        """The body that sets these values.

        Args:
            values: by column of the mart; a reference is the other record's id in the system.
            custom: values of custom fields, by name or key.
            is_new: whether all that a new record needs must be there.

        Raises:
            WriteInvalid: every field that cannot be set, with the issue.
        """
        done, fixed = Checked(), self._spec.fixed
        for name in values.keys() & fixed.keys():
            done.note(name, "is set by the operation itself")
        for name, value in {**values, **fixed}.items():
            self._column(done, name, value)
        self._custom(done, custom)
        if is_new:
            self._presence(done, values)
        if done.issues:
            first = done.issues[0]
            more = f" ({len(done.issues)} fields in all)" if len(done.issues) > 1 else ""
            raise WriteInvalid(
                f"{first['field']} {first['issue']}{more}. No call was made.", done.issues
            )
        return done

    @property
    def _definitions(self) -> list[Field]:
        """The fields that the source has now for this kind of record."""
        if self._fields is None:
            self._fields = [
                each
                for each in fields_of(self._connection, self._scope)
                if each.entity == self._spec.entity and each.removed_at is None
            ]
        return self._fields

    def _column(self, done: Checked, name: str, value: Any) -> None:
        """Puts one value into the body, or notes what is wrong with it."""
        declared = self._spec.by_column.get(name)
        if declared is None:
            done.note(name, self._unknown(name))
            return
        try:
            converted = self._converted(declared, value)
        except WrongValue as wrong:
            done.note(name, str(wrong))
            return
        done.values[name] = value
        _put(done.body, declared.key, converted)

    def _unknown(self, name: str) -> str:
        known = {
            column for source in _sources(self._scope, self._mart) for column in source.columns
        }
        if name in known:
            return "is read-only: the system computes it, or a field mapping fills it"
        return f"is no field that can be written; there are {', '.join(self._spec.by_column)}"

    def _converted(self, declared: WriteField, value: Any) -> Any:
        if value is None:
            if not declared.is_nullable:
                raise WrongValue("cannot be empty")
            return [] if declared.form == "options" else None
        if declared.choices is not None:
            return choice(declared.choices, value)
        match declared.form:
            case "reference":
                return self._reference(declared, value)
            case "option":
                return option(self._options(declared), value)
            case "options":
                if not isinstance(value, list):
                    raise WrongValue("must be a list of labels or ids")
                options = self._options(declared)
                return [option(options, each) for each in value]
        return FORMS[declared.form](declared, value)

    def _reference(self, declared: WriteField, remote_id: Any) -> Any:
        for source in _sources(self._scope, declared.refers_to or ""):
            if source.key_type is ColumnType.BIGINT:
                try:
                    return int(remote_id)
                except (TypeError, ValueError):
                    raise WrongValue("is no id of the system") from None
        return str(remote_id)

    def _options(self, declared: WriteField) -> dict[Any, str]:
        """The labels of a field's options by id, as the source has them now."""
        if declared.named_by is not None:
            entity, key, name = declared.named_by
            query = sql.SQL("select {}::text, {}::text from {}").format(
                sql.Identifier(key),
                sql.Identifier(name),
                sql.Identifier(self._scope.raw_schema, entity),
            )
            return dict(self._connection.execute(query).fetchall())
        for each in self._definitions:
            if each.field_key == declared.options_of:
                return numbered(each.options)
        raise WrongValue("has no options in this account, or they were not read yet")

    def _custom(self, done: Checked, values: Mapping[str, Any]) -> None:
        """Puts the values of custom fields into the body."""
        if not values:
            return
        if self._spec.custom_values is None:
            done.note(CUSTOM, "these records have no custom fields that can be written")
            return
        place = done.body
        if self._spec.custom_values:
            place = done.body.setdefault(self._spec.custom_values, {})
        for name, value in values.items():
            try:
                definition = self._custom_field(name)
                kind, converted = self._custom_value(definition, value)
            except WrongValue as wrong:
                done.note(f"{CUSTOM}.{name}", str(wrong))
            else:
                place.update(self._spec.custom(definition.field_key, kind, converted))

    def _custom_field(self, name: str) -> Field:
        own = [each for each in self._definitions if each.is_custom]
        named = [each for each in own if each.field_key == name] or [
            each for each in own if plain(each.field_name) == plain(name)
        ]
        if not named:
            raise WrongValue("is no custom field of these records")
        if len(named) > 1:
            keys = ", ".join(each.field_key for each in named)
            raise WrongValue(f"is the name of several fields; use the key of one: {keys}")
        return named[0]

    def _custom_value(self, definition: Field, value: Any) -> tuple[str, Any]:
        if not definition.is_writable:
            raise WrongValue("is read-only: the system alone sets it")
        kind = registry.system(self._scope.system).field_types.get(definition.field_type)
        if kind is None:
            raise WrongValue(f"has the type {definition.field_type}, which cannot be written")
        if value is None:
            return kind.kind, None
        if kind.kind in {"enum", "choice"}:
            return kind.kind, option(numbered(definition.options), value)
        if kind.kind == "set":
            if not isinstance(value, list):
                raise WrongValue("must be a list of labels or ids")
            options = numbered(definition.options)
            return kind.kind, [option(options, each) for each in value]
        return kind.kind, CUSTOM_FORMS[kind.kind](value)

    def _presence(self, done: Checked, values: Mapping[str, Any]) -> None:
        """Notes what a new record lacks."""
        wrong = {issue["field"] for issue in done.issues}
        for name in self._spec.required:
            if name not in wrong and values.get(name) in (None, ""):
                done.note(name, "is required")
        one_of = self._spec.one_of
        if one_of and not wrong & set(one_of) and all(not values.get(name) for name in one_of):
            done.note(one_of[0], f"is required, or another one of {', '.join(one_of)}")


def _sources(scope: Scope, mart: str) -> Iterable[Any]:
    return (source for source in mart_sources(scope.system) if source.name == mart)


def _put(body: Body, key: str, value: Any) -> None:
    outer, dot, inner = key.partition(".")
    if dot:
        body.setdefault(outer, {})[inner] = value
    else:
        body[outer] = value
