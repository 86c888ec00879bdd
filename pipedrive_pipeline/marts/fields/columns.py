"""Which column of a tenant's views shows which custom field, kept over time.

Belongs here: names that stay while other fields come and go, what a rename or another type does.
Does not belong here: the SQL of a column (`values.py`), the views themselves (`views.py`).

A column is made for one part of one field of one type. It goes only when its field gets another
type and nothing is built on the views; a deleted field's column stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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
    """One column; ``is_overflow`` ones stand in `more_fields` under their name."""

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
        return next(part for part in parts_of(self.field_type) if part.name == self.part)


@dataclass(frozen=True)
class ColumnChange:
    """What happened to the column of a field."""

    field_key: str
    change: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Layout:
    """All columns of custom fields of one mart, in their order, and what differs from before."""

    columns: tuple[ViewColumn, ...]
    changes: tuple[ColumnChange, ...] = ()

    @property
    def shown(self) -> tuple[ViewColumn, ...]:
        """Those that are columns of their own."""
        return tuple(one for one in self.columns if not one.is_overflow)


def lay_out(
    held: Sequence[ViewColumn],
    fields: Iterable[Field],
    reserved: Collection[str],
    *,
    has_dependents: bool,
    limit: int = COLUMN_LIMIT,
) -> Layout:
    """The columns that the fields have now.

    Args:
        held: the columns as they were.
        fields: custom fields of the entity, those that are gone too, oldest first.
        reserved: names of columns that are not custom fields'.
        has_dependents: whether something is built on the views, so that no column may go.
        limit: how many columns there may be; further fields overflow.
    """
    arrangement = _Arrangement(held, list(fields), reserved, has_dependents=has_dependents)
    for field in arrangement.fields:
        arrangement.place(field, limit)
    return arrangement.layout()


class _Arrangement:
    """A layout in the making: what is kept, which names are taken, what changed."""

    def __init__(
        self,
        held: Sequence[ViewColumn],
        fields: list[Field],
        reserved: Collection[str],
        *,
        has_dependents: bool,
    ) -> None:
        self.fields, self._has_dependents = fields, has_dependents
        by_key = {one.field_key: one for one in fields}
        self._groups = {key: list(rows) for key, rows in groupby(held, _group)}
        self._moving = {key for key, rows in self._groups.items() if _is_renamed(rows[0], by_key)}
        self._retyped = {key for key, rows in self._groups.items() if _is_retyped(rows[0], by_key)}
        self._kept = self._groups | {
            key: [replace(one, is_retired=True) for one in self._groups[key]]
            for key in self._retyped
        }
        if not has_dependents:
            self._kept = {key: rows for key, rows in self._kept.items() if not rows[0].is_retired}
        self._taken = {*reserved, OVERFLOW_COLUMN}
        for key, rows in self._kept.items():
            # Whoever is renamed gives the old name away first: two fields may exchange theirs.
            self._taken |= set() if key in self._moving else {one.column_name for one in rows}
        self._position = max((one.position for one in held), default=0)
        self._changes: list[ColumnChange] = []

    def place(self, field: Field, limit: int) -> None:
        """Give one field its columns, or the names that follow from its new name."""
        key = (field.field_key, field.field_type)
        if key not in self._kept:
            self._add(field, limit)
        elif key in self._moving:
            self._rename(field)
        elif self._kept[key][0].is_retired:
            self._kept[key] = [replace(one, is_retired=False) for one in self._kept[key]]
        self._taken |= {one.column_name for one in self._kept[key]}

    def layout(self) -> Layout:
        """What came of it."""
        rows = [one for group in self._kept.values() for one in group]
        ordered = sorted(rows, key=lambda one: one.position)
        return Layout(tuple(ordered), tuple(self._changes))

    def _add(self, field: Field, limit: int) -> None:
        before = [self._groups[one] for one in sorted(self._retyped) if one[0] == field.field_key]
        is_beside = bool(before) and self._has_dependents
        room = limit - sum(not one.is_overflow for rows in self._kept.values() for one in rows)
        made = _made(field, self._taken, self._position, is_beside=is_beside, room=room)
        self._position += len(made)
        self._kept[field.field_key, field.field_type] = made
        self._changes += _noted(field, made, before, is_beside=is_beside)

    def _rename(self, field: Field) -> None:
        key = (field.field_key, field.field_type)
        renamed = _renamed(field, self._kept[key], self._taken)
        self._changes += [
            ColumnChange(field.field_key, "renamed", old.column_name, new.column_name)
            for old, new in zip(self._kept[key], renamed, strict=True)
            if old.column_name != new.column_name
        ]
        self._kept[key] = renamed


def _group(column: ViewColumn) -> tuple[str, str]:
    return column.field_key, column.field_type


def _is_renamed(column: ViewColumn, by_key: dict[str, Field]) -> bool:
    field = by_key.get(column.field_key)
    return (
        field is not None
        and field.removed_at is None
        and field.field_type == column.field_type
        and readable(field.field_name) != readable(column.named_after)
    )


def _is_retyped(column: ViewColumn, by_key: dict[str, Field]) -> bool:
    field = by_key.get(column.field_key)
    return field is not None and field.field_type != column.field_type and not column.is_retired


def _made(
    field: Field, taken: Collection[str], position: int, *, is_beside: bool, room: int
) -> list[ViewColumn]:
    parts = parts_of(field.field_type)
    # Beside its former column a field's new one says of which type it is.
    text = f"{field.field_name} {field.field_type}" if is_beside else field.field_name
    is_overflow = len(parts) > room
    if is_overflow:
        parts = (replace(parts[0], suffix=""),)  # one name for the whole value as sent
    base = free_base(text, [part.suffix for part in parts], taken)
    return [
        ViewColumn(
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


def _renamed(field: Field, rows: list[ViewColumn], taken: Collection[str]) -> list[ViewColumn]:
    suffixes = ["" if one.is_overflow else one.definition.suffix for one in rows]
    base = free_base(field.field_name, suffixes, taken)
    return [
        replace(one, column_name=base + suffix, named_after=field.field_name)
        for one, suffix in zip(rows, suffixes, strict=True)
    ]


def _noted(
    field: Field, made: list[ViewColumn], before: list[list[ViewColumn]], *, is_beside: bool
) -> list[ColumnChange]:
    kind = "kept" if is_beside else "retyped" if before else "added"
    kind = "overflowed" if made[0].is_overflow else kind
    old = ", ".join(one.column_name for rows in before for one in rows) or None
    new = ", ".join(one.column_name for one in made)
    return [ColumnChange(field.field_key, kind, old, new)]


def stored_columns(
    connection: psycopg.Connection, tenant: Tenant, system: str, mart: str
) -> list[ViewColumn]:
    """The columns as they were last laid out, in their order."""
    return (
        connection.cursor(row_factory=class_row(ViewColumn))
        .execute(_HELD, (tenant.slug, system, mart))
        .fetchall()
    )


def store_layout(
    connection: psycopg.Connection, tenant: Tenant, system: str, mart: str, layout: Layout
) -> None:
    """Store a layout and note what changed."""
    cursor = connection.cursor()
    whose = (tenant.slug, system, mart)
    cursor.execute(_FORGET, whose)
    cursor.executemany(
        _KEEP,
        [
            (
                *whose, one.field_key, one.field_type, one.part, one.position, one.column_name,
                one.named_after, one.is_overflow, one.is_retired,
            )
            for one in layout.columns
        ],
    )  # fmt: skip
    cursor.executemany(
        _NOTE,
        [(*whose, one.field_key, one.change, one.before, one.after) for one in layout.changes],
    )


_HELD = """
select
    view_columns.field_key,
    view_columns.field_type,
    view_columns.part,
    view_columns.position,
    view_columns.column_name,
    view_columns.named_after,
    view_columns.is_overflow,
    view_columns.is_retired
from integration.view_columns
where view_columns.tenant_id = %s
    and view_columns.system = %s
    and view_columns.mart = %s
order by view_columns.position asc
"""
_FORGET = """
delete from integration.view_columns
where view_columns.tenant_id = %s
    and view_columns.system = %s
    and view_columns.mart = %s
"""
_KEEP = """
insert into integration.view_columns (
    tenant_id, system, mart, field_key, field_type, part, position, column_name, named_after,
    is_overflow, is_retired
)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_NOTE = """
insert into integration.column_changes
    (tenant_id, system, mart, field_key, change, before, after)
values (%s, %s, %s, %s, %s, %s, %s)
"""
