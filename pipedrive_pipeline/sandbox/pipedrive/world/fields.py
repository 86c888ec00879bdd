"""Field definitions of one entity: built-in and custom ones, their options, their deletion.

A custom field's identity is its 40-digit code. A deleted field leaves every answer at once; made
again under the same name it has another code. A deleted option leaves the option list, not the
records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as with_default
from hashlib import sha1
from typing import Any

from pipedrive_pipeline.sandbox.kit.clock import ServerClock
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind

CREATABLE_TYPES = (
    "varchar", "varchar_auto", "text", "double", "monetary", "date", "set", "enum", "user", "org",
    "people", "phone", "time", "timerange", "daterange", "address",
)  # fmt: skip
TYPES_WITH_OPTIONS = ("enum", "set")
OPTION_LIMIT = 10_000  # per field
SUBFIELDS = {
    "address": (
        "value", "country", "admin_area_level_1", "admin_area_level_2", "locality", "sublocality",
        "route", "street_number", "subpremise", "postal_code", "formatted_address",
    ),
    "monetary": ("value", "currency"),
    "daterange": ("value", "until"),
    "timerange": ("value", "until", "timezone_id", "timezone_name"),
    "time": ("value", "timezone_id", "timezone_name"),
}  # fmt: skip


@dataclass(frozen=True)
class FieldOption:
    """One choice of an enum or a set."""

    id: int | str  # a text for the choices of a status
    label: str
    add_time: str
    update_time: str | None = None


@dataclass(frozen=True)
class FieldDefinition:
    """One field definition."""

    id: int  # only v1 shows it
    code: str
    name: str
    type: str
    is_custom: bool
    add_time: str
    options: tuple[FieldOption, ...] | None = None
    deleted_options: tuple[FieldOption, ...] = ()
    update_time: str | None = None
    description: str | None = None
    is_optional: bool = False
    is_writable: bool | None = None  # None: answers do not say
    settings: Mapping[str, Any] = with_default(default_factory=dict, hash=False)  # those once set


Log = Callable[[FieldDefinition | None, FieldDefinition | None, str], None]  # before, after, who


class FieldBook:
    """The live fields of one entity, in the order in which they were made.

    A change replaces the whole table, so a reader in another thread sees the old or the new one.
    """

    def __init__(self, entity: RecordKind, seed: int, clock: ServerClock, log: Log) -> None:
        self.entity = entity
        self._seed, self._clock, self._log = seed, clock, log
        self._next_id = entity.first_field_id or 1
        self._next_option_id = 1
        self._fields: dict[str, FieldDefinition] = {}
        self.dropped: dict[str, FieldDefinition] = {}
        self._renew_codes()

    def __iter__(self) -> Iterator[FieldDefinition]:
        return iter(self._fields.values())

    def __len__(self) -> int:
        return len(self._fields)

    def get(self, code: str) -> FieldDefinition | None:
        """The live field with a code."""
        return self._fields.get(code)

    def live_values(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The custom values of a record as answers show them: every live field, null or not."""
        if values.keys() == self._code_set:
            return values
        return {code: values.get(code) for code in self.custom_codes}

    def named(self, name: str) -> FieldDefinition:
        """The first live custom field with a name.

        Raises:
            LookupError: there is none.
        """
        for field in self:
            if field.is_custom and field.name == name:
                return field
        raise LookupError(f"{self.entity.name} have no custom field named {name!r}")

    def seed(self, fields: Iterable[FieldDefinition]) -> None:
        """Store fields that were there from the start; the history does not mention them."""
        self._fields = self._fields | {field.code: field for field in fields}
        self._renew_codes()

    @property
    def next_ids(self) -> tuple[int, int]:
        """The ids that the next field and the next option get."""
        return self._next_id, self._next_option_id

    def restore(
        self,
        fields: Iterable[FieldDefinition],
        dropped: Iterable[FieldDefinition],
        next_ids: tuple[int, int],
    ) -> None:
        """Replaces all fields by those of an earlier sandbox; the history does not mention it."""
        self._fields = {field.code: field for field in fields}
        self.dropped = {field.code: field for field in dropped}
        self._next_id, self._next_option_id = next_ids
        self._renew_codes()

    def new(
        self,
        name: str,
        kind: str,
        labels: Sequence[str] | None = None,
        *,
        code: str | None = None,
        description: str | None = None,
        settings: Mapping[str, Any] | None = None,
        at: str | None = None,
    ) -> FieldDefinition:
        """A field with the next id that is not stored yet; without a code it is a custom one."""
        at = at or self._clock.stamp()
        field_id, self._next_id = self._next_id, self._next_id + 1
        return FieldDefinition(
            id=field_id,
            code=code or self._fresh_code(field_id),
            name=name,
            type=kind,
            is_custom=code is None,
            add_time=at,
            options=None if labels is None else tuple(self._options(labels, at)),
            description=description,
            settings=settings or {},
        )

    def add(
        self,
        name: str,
        kind: str,
        labels: Sequence[str] | None = None,
        *,
        description: str | None = None,
        settings: Mapping[str, Any] | None = None,
        by: str = "test",
    ) -> FieldDefinition:
        """Add a custom field; every record has it at once, with null."""
        new = self.new(name, kind, labels, description=description, settings=settings)
        return self._put(None, new, by)

    def change(self, code: str, *, by: str = "test", **changes: Any) -> FieldDefinition:
        """Change a field's name, or by force its type; its code stays."""
        before = self._known(code)
        return self._put(before, replace(before, update_time=self._clock.stamp(), **changes), by)

    def drop(self, code: str, *, by: str = "test") -> FieldDefinition:
        """Delete a field: it leaves the definitions and every record at once, for ever."""
        field = self._known(code)
        self._fields = {key: other for key, other in self._fields.items() if key != code}
        self.dropped[code] = field
        self._renew_codes()
        self._log(field, None, by)
        return field

    def add_options(self, code: str, labels: Sequence[str], *, by: str = "test") -> FieldDefinition:
        """Append options to an enum or a set; returns the field as it is now."""
        options = self._known(code).options or ()
        new = tuple(self._options(labels, self._clock.stamp()))
        return self.change(code, by=by, options=(*options, *new))

    def rename_options(
        self, code: str, labels: Mapping[Any, str], *, by: str = "test"
    ) -> FieldDefinition:
        """Give options new labels by id; returns the field as it is now."""
        at = self._clock.stamp()
        options = tuple(
            replace(option, label=labels[option.id], update_time=at)
            if option.id in labels
            else option
            for option in self._known(code).options or ()
        )
        return self.change(code, by=by, options=options)

    def drop_options(
        self, code: str, ids: Sequence[int | str], *, by: str = "test"
    ) -> FieldDefinition:
        """Delete options; records keep the ids. Returns the field as it is now."""
        field = self._known(code)
        remaining = tuple(option for option in field.options or () if option.id not in ids)
        deleted = tuple(option for option in field.options or () if option.id in ids)
        return self.change(
            code, by=by, options=remaining, deleted_options=(*field.deleted_options, *deleted)
        )

    def _known(self, code: str) -> FieldDefinition:
        if code not in self._fields:
            raise LookupError(f"{self.entity.name} have no field with the code {code!r}")
        return self._fields[code]

    def _put(
        self, before: FieldDefinition | None, after: FieldDefinition, by: str
    ) -> FieldDefinition:
        self.seed([after])
        self._log(before, after, by)
        return after

    def _renew_codes(self) -> None:
        self.custom_codes = tuple(field.code for field in self if field.is_custom)
        self._code_set = frozenset(self.custom_codes)

    def _options(self, labels: Sequence[str], at: str) -> Iterator[FieldOption]:
        for label in labels:
            yield FieldOption(self._next_option_id, label, at)
            self._next_option_id += 1

    def _fresh_code(self, field_id: int) -> str:
        text = f"{self._seed}/{self.entity.name}/{field_id}"
        return sha1(text.encode(), usedforsecurity=False).hexdigest()
