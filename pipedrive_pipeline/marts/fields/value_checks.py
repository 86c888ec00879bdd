"""Every value of a custom field or a standard JSON column fits, or is listed as rejected.

Belongs here: looking at values once when they arrive or their field's type changes, and at what the
views show of them. Does not belong here: the rules (`pipeline.misfit` in
`sql/schema`), values that raw itself could not hold (`ingest/`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.fields.catalogue import Field, are_custom_fields_wanted
from pipedrive_pipeline.marts.fields.raw_fields import RawFields
from pipedrive_pipeline.marts.fields.standard_columns import STANDARD_COLUMNS, insert_of_misfits
from pipedrive_pipeline.marts.fields.values import fits_plainly, is_simple
from pipedrive_pipeline.marts.targets import Target
from pipedrive_pipeline.tenants import Tenant

EDITION: Final = "4"  # of the rules; a new one checks all values again
ARGUMENTS_PER_CALL: Final = 90  # PostgreSQL's functions take at most 100


@dataclass(frozen=True)
class ValueCounts:
    """Values that are not null in the source: looked at, of which some do not fit their type."""

    seen: int = 0
    rejected: int = 0
    refused: int = 0  # fit their type, and a mapping could not convert them

    @property
    def kept(self) -> int:
        """How many fit."""
        return self.seen - self.rejected

    def __add__(self, other: ValueCounts) -> ValueCounts:
        return ValueCounts(
            self.seen + other.seen,
            self.rejected + other.rejected,
            self.refused + other.refused,
        )


class ValueCheck:
    """One build's look at values; the connection has the tenant's raw schema on its search_path.

    Args:
        connection: the build's own.
        tenant: whose values.
        system: of which CRM.
        fields: all that are known, those that are gone too.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        tenant: Tenant,
        system: str,
        fields: Iterable[Field],
    ) -> None:
        self._connection = connection
        self._whose = {"tenant": tenant.slug, "system": system}
        self._custom = [one for one in fields if one.is_custom]
        self._is_wanted = are_custom_fields_wanted(connection, tenant, system)

    @property
    def rules(self) -> str:
        """What values are checked against, as JSON: the types of all custom fields, if wanted."""
        types = {"/".join(one.identity): one.field_type for one in self._custom}
        rules = {"edition": EDITION, "is_wanted": self._is_wanted, "types": types}
        return json.dumps(rules, sort_keys=True)

    def retyped_since(self, checked: str | None) -> frozenset[tuple[str, str]] | None:
        """Entity and key of the fields whose values were checked against another type or none.

        Args:
            checked: the `rules` of the last check.

        Returns:
            None where all values are due: nothing is known of a former check, or the rules changed.
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
            one.identity
            for one in self._custom
            if types.get("/".join(one.identity)) != one.field_type
        )

    def list_misfits(
        self,
        entity: str,
        among: sql.Composable,
        connection: psycopg.Connection | None = None,
        *,
        only: Collection[str] | None = None,
    ) -> ValueCounts:
        """List the values that do not fit, once each: of standard columns, and of custom fields.

        Custom fields that the tenant does not want are not looked at.

        Args:
            entity: of which records.
            among: a condition on ``pipedrive_id`` that the records to look at meet.
            connection: one whose transaction began after the build's; none, the build's own.
            only: keys of the fields to look at; None for all, and for values of no known field.
        """
        whose = self._whose | {"entity": entity}
        connection = connection or self._connection
        counts = ValueCounts()
        if only is None:
            misfit_count = connection.execute(insert_of_misfits(entity, among), whose).rowcount
            counts = ValueCounts(seen=misfit_count, rejected=misfit_count)
        if self._is_wanted:
            fields = [one for one in self._custom if one.entity == entity]
            row = connection.execute(_check(entity, fields, among, only), whose).fetchone()
            counts += ValueCounts(*row) if row else ValueCounts()
        return counts

    def strike(
        self, entity: str, among: sql.Composable, *, only: Collection[str] | None = None
    ) -> None:
        """Strike off the list what fits by now: entries that this build has not listed again."""
        whose = self._whose | {"entity": entity, "only": None if only is None else list(only)}
        self._connection.execute(sql.SQL(_STRIKE).format(among=among), whose)

    def of_conversions(self, target: Target, among: sql.Composable) -> ValueCounts:
        """List the values that a mapping could not convert; strike off those that it can by now.

        A value that does not fit its own field is on the list already, and stays as it is.

        Args:
            target: with the tenant's mapping.
            among: a condition on ``pipedrive_id`` that the records to look at meet.
        """
        whose, refused = self._whose | {"entity": target.entity}, 0
        if any(one.refusal for one in target.fillings):
            refused = self._connection.execute(_refuse(target, among), whose).rowcount
        self._connection.execute(sql.SQL(_STRIKE_REFUSED).format(among=among), whose)
        return ValueCounts(refused=refused)


def _check(
    entity: str,
    fields: Sequence[Field],
    among: sql.Composable,
    only: Collection[str] | None,
) -> sql.Composed:
    known = [one.field_key for one in fields]
    kinds = {
        one.field_key: one.field_type for one in fields if only is None or one.field_key in only
    }
    unpacked = RawFields(sql.Identifier("record"), tuple(kinds))
    present = [_present(kind, unpacked.value(key)) for key, kind in kinds.items()]
    reasons = [_reason(kind, key, unpacked) for key, kind in kinds.items()]
    return sql.SQL(_CHECK).format(
        records=sql.Identifier(entity),
        joins=unpacked.joins(),
        among=among,
        present=filled_count(present),
        reasons=sql.SQL(", ").join(reasons),
        judged=sql.Literal(list(kinds)),
        unknown=sql.SQL(_UNKNOWN if only is None else "'{{}}'::jsonb").format(
            known=sql.Literal(known)
        ),
        known=sql.Literal(known),
    )


def _refuse(target: Target, among: sql.Composable) -> sql.Composed:
    entries = [
        sql.SQL(
            "({source}::text, {column}::text, {refusal}::text,"
            " case when {converted} is null then to_jsonb({value}) end)"
        ).format(
            source=sql.Literal(one.source),
            column=sql.Literal(one.target),
            refusal=sql.Literal(one.refusal),
            converted=one.converted,
            value=one.value,
        )
        for one in target.fillings
        if one.refusal
    ]
    return sql.SQL(_REFUSE).format(
        records=sql.Identifier(target.entity),
        joins=target.joins,
        entries=sql.SQL(", ").join(entries),
        among=among,
    )


def filled_count(values: Sequence[sql.Composable]) -> sql.Composed:
    """How many of the values are not null."""
    counts = [
        sql.SQL("num_nonnulls({})").format(
            sql.SQL(", ").join(values[start : start + ARGUMENTS_PER_CALL])
        )
        for start in range(0, len(values), ARGUMENTS_PER_CALL)
    ]
    return sql.SQL(" + ").join([sql.SQL("0"), *counts])


def _present(kind: str, value: sql.Composable) -> sql.Composable:
    """The value, or null where it says nothing: an object of nothing but nulls."""
    if is_simple(kind):
        return value
    return sql.SQL(
        "case jsonb_typeof({0}) when 'object' then nullif(jsonb_strip_nulls({0}), '{{}}')"
        " else {0} end"
    ).format(value)


def _reason(kind: str, key: str, unpacked: RawFields) -> sql.Composed:
    """Why a field's value does not fit, null where it does."""
    value, simple = unpacked.value(key), is_simple(kind)
    beside = sql.SQL(
        ", case when {extra} is not null then"
        " pipeline.misfit({kind}, pipeline.value_of_v1({kind}, {extra}, {key})) end"
    ).format(extra=unpacked.extra, kind=sql.Literal(kind), key=sql.Literal(key))
    nothing_beside = sql.SQL("{} is null and ").format(unpacked.extra)
    return sql.SQL(
        "case when {value} is null or {nothing_beside}{fits} then null"
        " else coalesce(pipeline.misfit({kind}, {value}){beside}) end"
    ).format(
        value=value,
        nothing_beside=sql.SQL("") if simple else nothing_beside,
        fits=fits_plainly(kind, value),
        kind=sql.Literal(kind),
        beside=sql.SQL("") if simple else beside,
    )


# Values of fields that no definition explains, by key.
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
        record.id,
        {present} as value_count,
        array[{reasons}]::text[] as reasons,
        {unknown} as unknown
    from (select record.*, record.id as pipedrive_id from {records} as record) as record{joins}
    where record.{among}
),
misfits as (
    select
        checked.id::text as record_id,
        misfit.field,
        case
            when jsonb_typeof(record.custom_fields) in ('object', 'null')
                or record.custom_fields is null
                then pipeline.field_value(record.custom_fields, record.extra, misfit.field)
            else coalesce(record.extra -> misfit.field, record.custom_fields)
        end as value,
        misfit.reason
    from checked
    inner join {records} as record
        on record.id = checked.id
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
        where jsonb_typeof(record.custom_fields) not in ('object', 'null')
            and not pipeline.is_empty(record.custom_fields)
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
    looked.id::text,
    looked.source,
    left(looked.value::text, 1000),
    looked.refusal,
    looked.target
from (
    select
        {records}.id,
        {records}.id as pipedrive_id,
        entry.*
    from {records}{joins}
    cross join lateral (values {entries}) as entry (source, target, refusal, value)
    where entry.value is not null
) as looked
where looked.{among}
on conflict (tenant_id, system, entity, record_id, field) do update
set
    value = excluded.value,
    reason = excluded.reason,
    target = excluded.target,
    last_seen_at = now()
where listed.target is not null
"""
# What this build listed has its time or a later one; whatever else is listed of these records fits.
_STRIKE_WHAT_FITS = """
delete from integration.rejected_values
where rejected_values.tenant_id = %(tenant)s
    and rejected_values.system = %(system)s
    and rejected_values.entity = %(entity)s
    and rejected_values.last_seen_at < now()
    and exists (
        select
        from (
            select case
                when rejected_values.record_id ~ '^[0-9]{{1,18}}$'
                    then rejected_values.record_id::bigint
            end as pipedrive_id
        ) as record
        where record.{among}
    )
"""
_STRIKE_REFUSED = f"""{_STRIKE_WHAT_FITS}
    and rejected_values.target is not null
"""
_STRIKE = f"""{_STRIKE_WHAT_FITS}
    and rejected_values.target is null
    and (%(only)s::text[] is null or rejected_values.field = any (%(only)s::text[]))
    and (
        rejected_values.field ~ '^([0-9a-f]{{{{40}}}}|custom_fields|{"|".join(STANDARD_COLUMNS)})$'
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
