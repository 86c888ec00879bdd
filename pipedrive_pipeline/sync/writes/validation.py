"""Checks values by the source's own field definitions, and makes the body of the call of them.

No call is made: definitions, options and rows come from the tables of the last sync.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors.contract import ColumnType
from pipedrive_pipeline.connectors.writing import Body, WriteField, WriteSpec
from pipedrive_pipeline.marts.fields.catalogue import Field, fields_of
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes import mart_rows
from pipedrive_pipeline.sync.writes.custom_fields import CustomFields
from pipedrive_pipeline.sync.writes.errors import WriteInvalid
from pipedrive_pipeline.sync.writes.forms import (
    FORMS,
    OutOfRange,
    WrongValue,
    choice,
    numbered,
    option,
    options_of,
    sent_twice,
)
from pipedrive_pipeline.sync.writes.terms import MART_TERMS, Terms

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
        self,
        connection: psycopg.Connection,
        scope: Scope,
        mart: str,
        spec: WriteSpec,
        *,
        remote_id: str | None = None,
        terms: Terms = MART_TERMS,
    ) -> None:
        self._connection, self._scope, self._mart, self._spec = connection, scope, mart, spec
        self._remote_id, self._terms = remote_id, terms

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
            done.note(self._name(name), "is set by the operation itself")
        for name, value in {**values, **fixed}.items():
            self._column(done, name, value)
        self._custom(done, custom)
        if is_new:
            self._presence(done, values)
        if self._spec.together is not None:
            self._together(done, values, *self._spec.together, is_new=is_new)
        if done.issues:
            raise WriteInvalid.of(done.issues)
        return done

    @cached_property
    def _known_fields(self) -> list[Field]:
        """The fields of this kind of record, removed ones included."""
        known = fields_of(self._connection, self._scope)
        return [each for each in known if each.entity == self._spec.entity]

    @cached_property
    def custom_fields(self) -> CustomFields:
        """The custom fields of this kind of record."""
        return CustomFields(
            self._connection,
            self._scope,
            self._mart,
            tuple(each for each in self._known_fields if each.is_custom),
            self._terms,
            self._remote_id,
        )

    @cached_property
    def _row(self) -> mart_rows.Row:
        """The row of the record that is changed; empty of a new one."""
        if self._remote_id is None:
            return {}
        return mart_rows.row_of(self._connection, self._scope, self._mart, self._remote_id) or {}

    def _name(self, column: str) -> str:
        return self._terms.name_of(column)

    def _column(self, done: Checked, column: str, value: Any) -> None:
        """Puts one value into the body, or notes what is wrong with it."""
        name, declared = self._name(column), self._spec.by_column.get(column)
        if declared is None:
            done.note(name, self._unknown(column))
            return
        try:
            converted = self._converted(declared, value)
        except OutOfRange as wrong:
            done.note(name, wrong.text(self._terms.unit_of(column)))
            return
        except WrongValue as wrong:
            done.note(name, str(wrong))
            return
        for other in self._spec.fields:
            is_sent = other.column in done.values and other.key == declared.key
            if is_sent and done.body[other.key] != converted:
                done.note(name, sent_twice([self._name(other.column), name]))
        done.values[column] = converted if declared.form == "day" else value
        _put(done.body, declared.key, converted)

    def _unknown(self, column: str) -> str:
        known = {name for source in _sources(self._scope, self._mart) for name in source.columns}
        if column in known:
            return "is read-only: the system computes it, or a field mapping fills it"
        writable = ", ".join(self._name(each) for each in self._spec.by_column)
        return f"is no field that can be written; there are {writable}"

    def _converted(self, declared: WriteField, value: Any) -> Any:
        if value is None:
            if not declared.is_nullable:
                raise WrongValue("cannot be empty")
            return [] if declared.form == "options" else None
        if declared.choices is not None:
            return choice(declared.choices, value)
        if declared.form in {"option", "options"}:
            return self._chosen(declared, value)
        if declared.form == "reference":
            return self._reference(declared, value)
        return FORMS[declared.form](declared, value)

    def _chosen(self, declared: WriteField, value: Any) -> Any:
        if declared.made_from is not None and value == self._row.get(declared.column):
            return self._row[declared.made_from]
        chosen = options_of if declared.form == "options" else option
        return chosen(self._options(declared), value)

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
        for each in self._known_fields:
            if each.field_key == declared.options_of and each.removed_at is None:
                return numbered(each.options)
        raise WrongValue("has no options in this account, or they were not read yet")

    def _custom(self, done: Checked, values: Mapping[str, Any]) -> None:
        """Puts the values of custom fields into the body."""
        if not values:
            return
        if self._spec.custom_values is None:
            done.note(CUSTOM, "these records have no custom fields that can be written")
            return
        entries, issues = self.custom_fields.entries(values)
        for name, issue in issues:
            done.note(f"{CUSTOM}.{name}", issue)
        place = done.body
        if self._spec.custom_values and entries:
            place = done.body.setdefault(self._spec.custom_values, {})
        for each in entries:
            place.update(self._spec.custom(each.key, each.kind, each.value))

    def _presence(self, done: Checked, values: Mapping[str, Any]) -> None:
        """Notes what a new record lacks."""
        wrong = {issue["field"] for issue in done.issues}
        for column in self._spec.required:
            if self._name(column) not in wrong and values.get(column) in (None, ""):
                done.note(self._name(column), "is required")
        one_of = [self._name(column) for column in self._spec.one_of]
        has_one = any(values.get(column) for column in self._spec.one_of)
        if one_of and not has_one and not wrong & set(one_of):
            done.note(one_of[0], f"is required, or another one of {', '.join(one_of[1:])}")

    def _together(
        self, done: Checked, values: Mapping[str, Any], amount: str, currency: str, *, is_new: bool
    ) -> None:
        """Notes an amount without a currency, and the other way round."""
        wrong = {issue["field"] for issue in done.issues}
        is_known = is_new or bool(self._row)
        is_sent = bool(values.keys() & {amount, currency})
        if not is_known or not is_sent or wrong & {self._name(amount), self._name(currency)}:
            return
        has_amount, has_currency = (
            {**self._row, **values}.get(column) is not None for column in (amount, currency)
        )
        if has_amount and not has_currency:
            done.note(self._name(currency), f"is required with {self._name(amount)}")
        elif values.get(currency) is not None and not has_amount:
            done.note(self._name(amount), f"is required with {self._name(currency)}")


def _sources(scope: Scope, mart: str) -> Iterable[Any]:
    return (source for source in mart_sources(scope.system) if source.name == mart)


def _put(body: Body, key: str, value: Any) -> None:
    outer, dot, inner = key.partition(".")
    if dot:
        body.setdefault(outer, {})[inner] = value
    else:
        body[outer] = value
