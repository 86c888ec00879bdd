"""The view columns of a tenant's custom fields: names, order and changes, stored between runs.

A column belongs to one part of one field of one type in one system, and is empty in the rows of
every other system. Two systems never share a column, even if their fields have the same name,
because they may mean different things. The field that came first keeps the name; the name of the
later one ends with its system (`discount`, `discount_hubspot`).

A column is dropped only when its field gets another type and nothing depends on the views; the
column of a deleted field stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.fields.naming import free_base, readable
from pipedrive_pipeline.marts.fields.values import Part, parts_of
from pipedrive_pipeline.tenants import Tenant

COLUMN_LIMIT: Final = 1_500  # of custom fields; a view of PostgreSQL holds 1,600 columns
OVERFLOW_COLUMN: Final = "more_fields"


@dataclass(frozen=True)
class ViewColumn:
    """One column; if ``is_overflow``, its value is in `more_fields` under this name."""

    system: str
    field_key: str
    field_type: str
    part: str
    position: int
    column_name: str
    named_after: str
    is_overflow: bool = False
    is_retired: bool = False

    @property
    def definition(self) -> Part:
        """Type and SQL of the column."""
        parts = parts_of(self.system, self.field_type)
        return next(part for part in parts if part.name == self.part)


@dataclass(frozen=True)
class ColumnChange:
    """One change of a field's columns."""

    system: str
    field_key: str
    change: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Layout:
    """All columns of one mart's custom fields in order, and the changes since the last layout."""

    columns: tuple[ViewColumn, ...]
    changes: tuple[ColumnChange, ...] = ()

    @property
    def shown(self) -> tuple[ViewColumn, ...]:
        """The columns that the views have; overflowing fields have none."""
        return tuple(column for column in self.columns if not column.is_overflow)


def lay_out(
    stored: Sequence[ViewColumn],
    fields: Iterable[Field],
    reserved: Collection[str],
    *,
    has_dependents: bool,
    limit: int = COLUMN_LIMIT,
) -> Layout:
    """Returns the columns for the current fields.

    Args:
        stored: the columns of the last layout.
        fields: custom fields of the mart's records in every system, removed ones included, oldest
            first.
        reserved: names of the columns that are not custom fields.
        has_dependents: True if other objects depend on the views, so no column may be dropped.
        limit: maximum number of columns; further fields overflow into `more_fields`.
    """
    arrangement = _Arrangement(stored, list(fields), reserved, has_dependents=has_dependents)
    for field in arrangement.fields:
        arrangement.place(field, limit)
    return arrangement.layout()


class _Arrangement:
    """Builds a layout field by field: current columns, names in use, changes."""

    def __init__(
        self,
        stored: Sequence[ViewColumn],
        fields: list[Field],
        reserved: Collection[str],
        *,
        has_dependents: bool,
    ) -> None:
        self.fields, self._has_dependents = fields, has_dependents
        by_key = {(field.system, field.field_key): field for field in fields}
        self._groups = {key: list(rows) for key, rows in groupby(stored, _group)}
        self._moving = {key for key, rows in self._groups.items() if _is_renamed(rows[0], by_key)}
        self._retyped = {key for key, rows in self._groups.items() if _is_retyped(rows[0], by_key)}
        self._current = self._groups | {
            key: [replace(column, is_retired=True) for column in self._groups[key]]
            for key in self._retyped
        }
        if not has_dependents:
            self._current = {
                key: rows for key, rows in self._current.items() if not rows[0].is_retired
            }
        self._taken: dict[str, str] = dict.fromkeys((*reserved, OVERFLOW_COLUMN), "")
        for key, rows in self._current.items():
            # A renamed field frees its old name first, because two fields may swap names.
            if key not in self._moving:
                self._take(rows)
        self._position = max((column.position for column in stored), default=0)
        self._changes: list[ColumnChange] = []

    def place(self, field: Field, limit: int) -> None:
        """Adds, renames or restores the columns of one field."""
        key = (field.system, field.field_key, field.field_type)
        if key not in self._current:
            self._add(field, limit)
        elif key in self._moving:
            self._rename(field)
        elif self._current[key][0].is_retired:
            self._current[key] = [
                replace(column, is_retired=False) for column in self._current[key]
            ]
        self._take(self._current[key])

    def layout(self) -> Layout:
        """Returns all columns by position, and the changes."""
        rows = [column for columns in self._current.values() for column in columns]
        ordered = sorted(rows, key=lambda column: column.position)
        return Layout(tuple(ordered), tuple(self._changes))

    def _take(self, columns: Iterable[ViewColumn]) -> None:
        self._taken |= {column.column_name: column.system for column in columns}

    def _add(self, field: Field, limit: int) -> None:
        before = [
            self._groups[key]
            for key in sorted(self._retyped)
            if key[:2] == (field.system, field.field_key)
        ]
        has_former = bool(before) and self._has_dependents
        room = limit - sum(
            not column.is_overflow for rows in self._current.values() for column in rows
        )
        added = _columns_for(field, self._taken, self._position, has_former=has_former, room=room)
        self._position += len(added)
        self._current[field.system, field.field_key, field.field_type] = added
        self._changes += _changes_of(field, added, before, has_former=has_former)

    def _rename(self, field: Field) -> None:
        key = (field.system, field.field_key, field.field_type)
        renamed = _renamed(field, self._current[key], self._taken)
        self._changes += [
            ColumnChange(field.system, field.field_key, "renamed", old.column_name, new.column_name)
            for old, new in zip(self._current[key], renamed, strict=True)
            if old.column_name != new.column_name
        ]
        self._current[key] = renamed


def _group(column: ViewColumn) -> tuple[str, str, str]:
    return column.system, column.field_key, column.field_type


def _is_renamed(column: ViewColumn, by_key: Mapping[tuple[str, str], Field]) -> bool:
    field = by_key.get((column.system, column.field_key))
    return (
        field is not None
        and field.removed_at is None
        and field.field_type == column.field_type
        and readable(field.field_name) != readable(column.named_after)
    )


def _is_retyped(column: ViewColumn, by_key: Mapping[tuple[str, str], Field]) -> bool:
    field = by_key.get((column.system, column.field_key))
    return field is not None and field.field_type != column.field_type and not column.is_retired


def _free_base(field: Field, text: str, suffixes: Sequence[str], taken: Mapping[str, str]) -> str:
    """Returns a free name, which ends with the field's system if another system's field has it.

    Args:
        field: whose columns.
        text: the name to make readable.
        suffixes: of the field's columns.
        taken: the system of each name in use; empty for the names of other columns.
    """
    of_others = {name for name, system in taken.items() if system not in ("", field.system)}
    base = free_base(text, suffixes, taken.keys() - of_others)
    if any(base + suffix in of_others for suffix in suffixes):
        return free_base(f"{text} {field.system}", suffixes, taken)
    return base


def _columns_for(
    field: Field, taken: Mapping[str, str], position: int, *, has_former: bool, room: int
) -> list[ViewColumn]:
    parts = parts_of(field.system, field.field_type)
    # The old column keeps the name, so the new one carries its type.
    text = f"{field.field_name} {field.field_type}" if has_former else field.field_name
    is_overflow = len(parts) > room
    if is_overflow:
        parts = (replace(parts[0], suffix=""),)  # one name for the whole value as sent
    base = _free_base(field, text, [part.suffix for part in parts], taken)
    return [
        ViewColumn(
            system=field.system,
            field_key=field.field_key,
            field_type=field.field_type,
            part=part.name,
            position=position + number,
            column_name=base + part.suffix,
            named_after=field.field_name,
            is_overflow=is_overflow,
        )
        for number, part in enumerate(parts, start=1)
    ]


def _renamed(field: Field, rows: list[ViewColumn], taken: Mapping[str, str]) -> list[ViewColumn]:
    suffixes = ["" if column.is_overflow else column.definition.suffix for column in rows]
    base = _free_base(field, field.field_name, suffixes, taken)
    return [
        replace(column, column_name=base + suffix, named_after=field.field_name)
        for column, suffix in zip(rows, suffixes, strict=True)
    ]


def _changes_of(
    field: Field, added: list[ViewColumn], before: list[list[ViewColumn]], *, has_former: bool
) -> list[ColumnChange]:
    kind = "kept" if has_former else "retyped" if before else "added"
    kind = "overflowed" if added[0].is_overflow else kind
    old = ", ".join(column.column_name for rows in before for column in rows) or None
    new = ", ".join(column.column_name for column in added)
    return [ColumnChange(field.system, field.field_key, kind, old, new)]


def stored_columns(
    connection: psycopg.Connection, tenant: Tenant, mart: str, system: str | None = None
) -> list[ViewColumn]:
    """Returns the columns of the last layout, by position: of one system, or of all."""
    return (
        connection.cursor(row_factory=class_row(ViewColumn))
        .execute(_STORED, {"tenant": tenant.slug, "mart": mart, "system": system})
        .fetchall()
    )


def stored_layouts(
    connection: psycopg.Connection, tenant: Tenant
) -> Mapping[str, Sequence[ViewColumn]]:
    """Returns the columns of all marts' last layouts, by mart and position; none of one without."""
    layouts: dict[str, list[ViewColumn]] = defaultdict(list)
    values = {"tenant": tenant.slug, "mart": None, "system": None}
    for mart, *column in connection.execute(_STORED_OF_ALL, values):
        layouts[mart].append(ViewColumn(*column))
    return layouts


def store_layout(connection: psycopg.Connection, tenant: Tenant, mart: str, layout: Layout) -> None:
    """Stores a layout and logs its changes."""
    cursor = connection.cursor()
    cursor.execute(_DELETE, (tenant.slug, mart))
    cursor.executemany(
        _INSERT,
        [
            (
                tenant.slug, mart, column.system, column.field_key, column.field_type, column.part,
                column.position, column.column_name, column.named_after, column.is_overflow,
                column.is_retired,
            )
            for column in layout.columns
        ],
    )  # fmt: skip
    cursor.executemany(
        _LOG_CHANGE,
        [
            (
                tenant.slug, mart, change.system, change.field_key, change.change, change.before,
                change.after,
            )
            for change in layout.changes
        ],
    )  # fmt: skip


_COLUMNS = """
    view_columns.system,
    view_columns.field_key,
    view_columns.field_type,
    view_columns.part,
    view_columns.position,
    view_columns.column_name,
    view_columns.named_after,
    view_columns.is_overflow,
    view_columns.is_retired
"""
_STORED_WHERE = """
from integration.view_columns
where view_columns.tenant_id = %(tenant)s
    and (%(mart)s::text is null or view_columns.mart = %(mart)s)
    and (%(system)s::text is null or view_columns.system = %(system)s)
order by view_columns.position asc
"""
_STORED = f"select {_COLUMNS} {_STORED_WHERE}"
_STORED_OF_ALL = f"select view_columns.mart, {_COLUMNS} {_STORED_WHERE}"
_DELETE = """
delete from integration.view_columns
where view_columns.tenant_id = %s
    and view_columns.mart = %s
"""
_INSERT = """
insert into integration.view_columns (
    tenant_id, mart, system, field_key, field_type, part, position, column_name, named_after,
    is_overflow, is_retired
)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_LOG_CHANGE = """
insert into integration.column_changes
    (tenant_id, mart, system, field_key, change, before, after)
values (%s, %s, %s, %s, %s, %s, %s)
"""
