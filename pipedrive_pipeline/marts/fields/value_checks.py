"""Checks that values of custom fields and standard JSON columns fit their types.

A value is checked when it arrives and when its field's type changes; misfits are listed in
`integration.rejected_values`. The rules are in `pipeline.misfit`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors.contract import FieldKind
from pipedrive_pipeline.marts.fields.catalogue import Field, are_custom_fields_wanted
from pipedrive_pipeline.marts.fields.field_entities import custom_values
from pipedrive_pipeline.marts.fields.raw_fields import RawFields
from pipedrive_pipeline.marts.fields.shaped_columns import insert_of_misfits, shaped_columns
from pipedrive_pipeline.marts.fields.values import has_usual_form, is_simple, kind_of
from pipedrive_pipeline.marts.sources import MartSource
from pipedrive_pipeline.scope import Scope

EDITION: Final = "4"  # of the rules; a new one checks all values again
ARGUMENTS_PER_CALL: Final = 90  # PostgreSQL's functions take at most 100


@dataclass(frozen=True)
class ValueCounts:
    """Counts of values that are not null in the source."""

    seen: int = 0
    rejected: int = 0  # do not fit their type
    refused: int = 0  # fit their type, but a mapping could not convert them

    @property
    def kept(self) -> int:
        """Number of values that fit their type."""
        return self.seen - self.rejected

    def __add__(self, other: ValueCounts) -> ValueCounts:
        return ValueCounts(
            self.seen + other.seen,
            self.rejected + other.rejected,
            self.refused + other.refused,
        )


class ValueCheck:
    """Checks the values of one build.

    Args:
        connection: the build's own, with the tenant's raw schema on its search_path.
        scope: whose values, of which CRM.
        fields: all known fields, removed ones included.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        scope: Scope,
        fields: Iterable[Field],
    ) -> None:
        self._connection = connection
        self._whose = {"tenant": scope.tenant.slug, "system": scope.system}
        self._custom = [field for field in fields if field.is_custom]
        self._is_wanted = are_custom_fields_wanted(connection, scope)

    @property
    def rules(self) -> str:
        """The rules of the check as JSON: edition, whether fields are wanted, types of fields."""
        types = {"/".join(field.identity): field.field_type for field in self._custom}
        rules = {"edition": EDITION, "is_wanted": self._is_wanted, "types": types}
        return json.dumps(rules, sort_keys=True)

    def retyped_since(self, checked: str | None) -> frozenset[tuple[str, str]] | None:
        """Returns entity and key of the fields that had another type or none at the last check.

        Args:
            checked: the `rules` of the last check.

        Returns:
            None if all values must be checked: there was no check before, or the rules changed.
        """
        try:
            former = json.loads(checked or "null")
        except ValueError:
            former = None
        now = json.loads(self.rules)
        if not isinstance(former, dict) or former | {"types": 0} != now | {"types": 0}:
            return None
        types = former["types"]
        return frozenset(
            field.identity
            for field in self._custom
            if types.get("/".join(field.identity)) != field.field_type
        )

    def list_misfits(
        self,
        source: MartSource,
        condition: sql.Composable,
        connection: psycopg.Connection | None = None,
        *,
        only: Collection[str] | None = None,
    ) -> ValueCounts:
        """Lists the misfits of standard columns and custom fields, one row for each value.

        Custom fields are skipped if the tenant does not want them.

        Args:
            source: of which mart.
            condition: on ``remote_id``, in the type of raw's key; selects the records.
            connection: has a transaction that began after the build's; None uses the build's own.
            only: keys of the fields to check; None checks all, and values of unknown fields.
        """
        whose = self._whose | {"entity": source.entity}
        connection = connection or self._connection
        counts = ValueCounts()
        if only is None:
            misfit_count = _list_standard_misfits(connection, source, condition, whose)
            counts = ValueCounts(seen=misfit_count, rejected=misfit_count)
        fields = [field for field in self._custom if field.entity == source.entity]
        if source.defined_by and self._is_wanted:
            row = connection.execute(_check(source, fields, condition, only), whose).fetchone()
            counts += ValueCounts(*row) if row else ValueCounts()
        return counts

    def delete_fitting(
        self, source: MartSource, condition: sql.Composable, *, only: Collection[str] | None = None
    ) -> None:
        """Deletes entries that this build has not listed again, because their values fit now."""
        whose = self._whose | {
            "entity": source.entity,
            "only": None if only is None else list(only),
            "standard": list(shaped_columns(source)),
        }
        self._connection.execute(_delete(_DELETE_MISFITS, source, condition), whose)

    def list_refusals(self, source: MartSource, condition: sql.Composable) -> ValueCounts:
        """Lists values that a mapping could not convert; deletes entries that it can convert now.

        The entry of a value that does not fit its own field stays as it is.

        Args:
            source: of which mart, with the tenant's mapping.
            condition: on ``remote_id``, in the type of raw's key; selects the records.
        """
        whose, refused = self._whose | {"entity": source.entity}, 0
        if any(filling.refusal for filling in source.fillings):
            refused = self._connection.execute(_refuse(source, condition), whose).rowcount
        self._connection.execute(_delete(_DELETE_CONVERTED, source, condition), whose)
        return ValueCounts(refused=refused)


def _list_standard_misfits(
    connection: psycopg.Connection,
    source: MartSource,
    condition: sql.Composable,
    whose: Mapping[str, str],
) -> int:
    insert = insert_of_misfits(source, condition)
    return connection.execute(insert, whose).rowcount if insert else 0


def _delete(text: str, source: MartSource, condition: sql.Composable) -> sql.Composed:
    return sql.SQL(text).format(
        remote_id=source.as_key(sql.Identifier("rejected_values", "record_id")),
        condition=condition,
    )


def _check(
    source: MartSource,
    fields: Sequence[Field],
    condition: sql.Composable,
    only: Collection[str] | None,
) -> sql.Composed:
    known = [field.field_key for field in fields]
    kinds = {
        field.field_key: kind_of(field.system, field.field_type)
        for field in fields
        if only is None or field.field_key in only
    }
    column = custom_values(source)
    unpacked = RawFields(sql.Identifier("record"), tuple(kinds), column=column)
    present = [_present(kind, unpacked.value(key)) for key, kind in kinds.items()]
    reasons = [_reason(kind, key, unpacked) for key, kind in kinds.items()]
    return sql.SQL(_CHECK).format(
        records=source.records,
        key=sql.Identifier(source.key),
        custom_fields=sql.Identifier(column),
        joins=unpacked.joins(),
        condition=condition,
        present=filled_count(present),
        reasons=sql.SQL(", ").join(reasons),
        judged=sql.Literal(list(kinds)),
        unknown=sql.SQL(_UNKNOWN if only is None else "'{{}}'::jsonb").format(
            known=sql.Literal(known)
        ),
        known=sql.Literal(known),
    )


def _refuse(source: MartSource, condition: sql.Composable) -> sql.Composed:
    entries = [
        sql.SQL(
            "({source}::text, {column}::text, {refusal}::text,"
            " case when {converted} is null then to_jsonb({value}) end)"
        ).format(
            source=sql.Literal(filling.source),
            column=sql.Literal(filling.target),
            refusal=sql.Literal(filling.refusal),
            converted=filling.converted,
            value=filling.value,
        )
        for filling in source.fillings
        if filling.refusal
    ]
    return sql.SQL(_REFUSE).format(
        records=source.records,
        key=sql.Identifier(source.key),
        joins=source.joins,
        entries=sql.SQL(", ").join(entries),
        condition=condition,
    )


def filled_count(values: Sequence[sql.Composable]) -> sql.Composed:
    """Returns the SQL that counts how many of the values are not null."""
    counts = [
        sql.SQL("num_nonnulls({})").format(
            sql.SQL(", ").join(values[start : start + ARGUMENTS_PER_CALL])
        )
        for start in range(0, len(values), ARGUMENTS_PER_CALL)
    ]
    return sql.SQL(" + ").join([sql.SQL("0"), *counts])


def _present(kind: FieldKind | None, value: sql.Composable) -> sql.Composable:
    """Returns the value, or null for an object that contains only nulls."""
    if is_simple(kind):
        return value
    return sql.SQL(
        "case jsonb_typeof({0}) when 'object' then nullif(jsonb_strip_nulls({0}), '{{}}')"
        " else {0} end"
    ).format(value)


def _reason(kind: FieldKind | None, key: str, unpacked: RawFields) -> sql.Composed:
    """Returns the SQL of the reason why a field's value does not fit; null if it fits."""
    value, simple = unpacked.value(key), is_simple(kind)
    misfit_of_top_level = sql.SQL(
        ", case when {extra} is not null then"
        " pipeline.misfit({kind}, pipeline.value_of_v1({kind}, {extra}, {key})) end"
    ).format(extra=unpacked.extra, kind=sql.Literal(kind), key=sql.Literal(key))
    no_top_level = sql.SQL("{} is null and ").format(unpacked.extra)
    return sql.SQL(
        "case when {value} is null or {no_top_level}{fits} then null"
        " else coalesce(pipeline.misfit({kind}, {value}){misfit_of_top_level}) end"
    ).format(
        value=value,
        no_top_level=sql.SQL("") if simple else no_top_level,
        fits=has_usual_form(kind, value),
        kind=sql.Literal(kind),
        misfit_of_top_level=sql.SQL("") if simple else misfit_of_top_level,
    )


# Values without a known field, by key.
_UNKNOWN = """(
            coalesce(sent.custom_fields - {known}::text[], '{{}}') || coalesce(
                (
                    select jsonb_object_agg(top.key, top.value)
                    from jsonb_each(
                        case when jsonb_typeof(sent.extra) = 'object' then sent.extra end
                    ) as top (key, value)
                    where top.key ~ '^[0-9a-f]{{40}}$'
                        and top.key <> all ({known}::text[])
                ),
                '{{}}'
            )
        )"""
_CHECK = """
with checked as materialized (
    select
        record.remote_id,
        {present} as value_count,
        array[{reasons}]::text[] as reasons,
        {unknown} as unknown
    from (select record.*, record.{key} as remote_id from {records} as record) as record{joins}
    where record.{condition}
),
misfits as (
    select
        checked.remote_id::text as record_id,
        misfit.field,
        case
            when jsonb_typeof(record.{custom_fields}) in ('object', 'null')
                or record.{custom_fields} is null
                then pipeline.field_value(record.{custom_fields}, record.extra, misfit.field)
            else coalesce(record.extra -> misfit.field, record.{custom_fields})
        end as value,
        misfit.reason
    from checked
    inner join {records} as record
        on record.{key} = checked.remote_id
    cross join lateral (
        select
            judged.field,
            judged.reason
        from unnest({judged}::text[], checked.reasons) as judged (field, reason)
        where judged.reason is not null
        union all
        select
            stray.key as field,
            'is of no field that is known' as reason
        from jsonb_each(
            case when jsonb_typeof(checked.unknown) = 'object' then checked.unknown end
        ) as stray (key, value)
        where not pipeline.is_empty(stray.value)
        union all
        select
            'custom_fields' as field,
            'is no object of fields' as reason
        where jsonb_typeof(record.{custom_fields}) not in ('object', 'null')
            and not pipeline.is_empty(record.{custom_fields})
    ) as misfit
    where checked.unknown <> '{{}}' -- also where custom_fields is no object
        or cardinality(array_remove(checked.reasons, null)) > 0
),
listed as (
    insert into integration.rejected_values
        (tenant_id, system, entity, record_id, field, value, reason)
    select %(tenant)s, %(system)s, %(entity)s, record_id, field, left(value::text, 1000), reason
    from misfits
    on conflict (tenant_id, system, entity, record_id, field) do update
    set value = excluded.value, reason = excluded.reason, target = null, last_seen_at = now()
),
strays as (
    select count(*) as number
    from misfits
    where misfits.field <> all ({known}::text[])
)
select
    (coalesce(sum(checked.value_count), 0) + (select strays.number from strays))::bigint,
    (select count(*) from misfits)
from checked
"""
_REFUSE = """
insert into integration.rejected_values as listed
    (tenant_id, system, entity, record_id, field, value, reason, target)
select
    %(tenant)s,
    %(system)s,
    %(entity)s,
    looked.remote_id::text,
    looked.source,
    left(looked.value::text, 1000),
    looked.refusal,
    looked.target
from (
    select
        {records}.{key} as remote_id,
        entry.*
    from {records}{joins}
    cross join lateral (values {entries}) as entry (source, target, refusal, value)
    where entry.value is not null
) as looked
where looked.{condition}
on conflict (tenant_id, system, entity, record_id, field) do update
set
    value = excluded.value,
    reason = excluded.reason,
    target = excluded.target,
    last_seen_at = now()
where listed.target is not null
"""
# Entries of this build have its time or a later one; older entries of these records fit now.
_DELETE_FITTING = """
delete from integration.rejected_values
where rejected_values.tenant_id = %(tenant)s
    and rejected_values.system = %(system)s
    and rejected_values.entity = %(entity)s
    and rejected_values.last_seen_at < now()
    and exists (
        select
        from (select {remote_id} as remote_id) as record
        where record.{condition}
    )
"""
_DELETE_CONVERTED = f"""{_DELETE_FITTING}
    and rejected_values.target is not null
"""
_DELETE_MISFITS = f"""{_DELETE_FITTING}
    and rejected_values.target is null
    and (%(only)s::text[] is null or rejected_values.field = any (%(only)s::text[]))
    and (
        rejected_values.field ~ '^([0-9a-f]{{{{40}}}}|custom_fields)$'
        or rejected_values.field = any (%(standard)s::text[])
        or exists (
            select
            from integration.fields
            where fields.tenant_id = rejected_values.tenant_id
                and fields.system = rejected_values.system
                and fields.entity = rejected_values.entity
                and fields.field_key = rejected_values.field
                and fields.is_custom
        )
    )
"""
