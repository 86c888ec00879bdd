"""Compares raw values with views and marts: each non-null raw value is shown or rejected.

The comparison queries the views and the tables themselves and uses none of the rules that convert
(`values.py`) or reject (`value_checks.py`) values. A sync compares the records loaded since the
last comparison, or a sample of them if they are many; `verify` compares all records. Loads with a
lost value are compared again by the next run. Many records are compared over two connections,
because evaluating views takes nearly all the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.fields.catalogue import are_custom_fields_wanted, fields_of
from pipedrive_pipeline.marts.fields.columns import OVERFLOW_COLUMN, ViewColumn, stored_columns
from pipedrive_pipeline.marts.fields.field_entities import custom_values, field_entities
from pipedrive_pipeline.marts.fields.raw_fields import RawFields
from pipedrive_pipeline.marts.fields.value_checks import filled_count
from pipedrive_pipeline.marts.mapping.form import ATTRIBUTE
from pipedrive_pipeline.marts.mapping.mapped_sources import mapped_sources
from pipedrive_pipeline.marts.parallel_queries import are_many, parallel_transactions
from pipedrive_pipeline.marts.raw import raw_transaction
from pipedrive_pipeline.marts.sources import BuiltFrom, Filling, MartSource, mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

SHOWN: Final = 100  # lost values of each mart that are listed
# A view evaluates the rules of a field for all records alike, so that a sample shows a wrong rule.
# All records of a first load took a fifth of its time in Postgres.
MOST_COMPARED: Final = 10_000  # loaded records of a mart; of more, a sample
SAMPLE: Final = 5_000
MartResult = tuple[int, list[tuple[str, str, str]]]  # values compared; entity, id, field key


@dataclass(frozen=True)
class Due:
    """Work that is due: views to publish before values can be compared, loads to compare."""

    are_views: bool  # publishing waits for a session that reads the views
    are_loads: bool  # some loads are not compared yet


@dataclass(frozen=True)
class ValueComparison:
    """Result of a comparison: number of raw values, and those neither shown nor rejected."""

    seen: int
    lost: tuple[tuple[str, str, str], ...]  # entity, id, field key; the first hundred a mart
    is_whole: bool


def compare_values(
    warehouse: Warehouse,
    scope: Scope,
    *,
    is_whole: bool = True,
    built_from: BuiltFrom | None = None,
) -> ValueComparison:
    """Compares raw with the tenant's views and mapped columns, and marks the loads as compared.

    Args:
        warehouse: has raw, views and marts.
        scope: whose values, of which CRM; the tenant's views are published.
        is_whole: compare all records, not only those loaded since the last comparison, and of many
            only a sample.
        built_from: of the build whose rows are compared; None: the mapping as it is now. One that
            was saved after the build fills no column yet. If another mapping is built meanwhile,
            what seems lost is left to the next comparison.
    """
    with (
        raw_transaction(warehouse, scope) as connection,
        parallel_transactions(warehouse, scope, workers=2) as submit,
    ):
        loads = _unproven_loads(connection, scope)
        is_shown = are_custom_fields_wanted(connection, scope)
        sources = built_from.sources if built_from else _sources_now(connection, scope)
        tasks: list[Callable[[psycopg.Connection], MartResult]] = []
        is_shared = False
        for source in sources:
            if source.is_of_parts:  # the values are those of the record
                continue
            if is_whole:
                conditions = _halves(connection, source)
            else:
                ids = _loaded_ids(connection, source, loads)
                conditions = [_id_condition(ids)] if ids else []
            is_shared |= len(conditions) > 1
            tasks += [
                partial(_compare_mart, scope, source, condition, is_shown=is_shown)
                for condition in conditions
            ]
        results = (
            [future.result() for future in [submit(task) for task in tasks]]
            if is_shared
            else [task(connection) for task in tasks]
        )
        lost = tuple(value for _, values in results for value in values)
        if not lost:
            _mark_compared(connection, scope, loads)
        elif built_from and not _is_built_from(connection, scope, built_from):
            lost = ()
    return ValueComparison(sum(value_count for value_count, _ in results), lost, is_whole)


def _sources_now(connection: psycopg.Connection, scope: Scope) -> tuple[MartSource, ...]:
    fields = fields_of(connection, scope)
    return mapped_sources(connection, scope, fields, mart_sources(scope.system))


def _is_built_from(connection: psycopg.Connection, scope: Scope, built_from: BuiltFrom) -> bool:
    row = connection.execute(
        """
        select mart_state.built_from = %s
        from integration.mart_state
        where mart_state.tenant_id = %s
            and mart_state.system = %s
        """,
        (built_from.fingerprint, scope.tenant.slug, scope.system),
    ).fetchone()
    return bool(row and row[0])


def due(connection: psycopg.Connection, scope: Scope) -> Due:
    """Returns which work is due for the tenant's marts."""
    row = connection.execute(
        """
        select
            mart_state.views_due_at is not null,
            mart_state.unproven_loads <> '{}'
        from integration.mart_state
        where mart_state.tenant_id = %s
            and mart_state.system = %s
        """,
        (scope.tenant.slug, scope.system),
    ).fetchone()
    return Due(*row) if row else Due(are_views=False, are_loads=False)


def _compare_mart(
    scope: Scope,
    source: MartSource,
    condition: sql.Composable,
    connection: psycopg.Connection,
    *,
    is_shown: bool,
) -> MartResult:
    """Returns the number of values compared, and entity, id and field of those lost."""
    comparison = _MartComparison(connection, scope, source)
    has_fields = is_shown and source.entity in field_entities(scope.system)
    has_fields = has_fields and comparison.are_fields_published()
    value_count, hidden = comparison.compare_view(condition) if has_fields else (0, [])
    unfilled = comparison.compare_mapped_columns(condition)
    return value_count, [(source.entity, record, key) for record, key in hidden + unfilled]


class _MartComparison:
    """Compares one mart's raw records with its widest view and its table."""

    def __init__(self, connection: psycopg.Connection, scope: Scope, source: MartSource) -> None:
        self._connection, self._source = connection, source
        columns = stored_columns(connection, scope.tenant, source.name, scope.system)
        columns.sort(key=lambda column: (column.field_key, column.is_retired, column.position))
        self._columns = {
            key: list(rows) for key, rows in groupby(columns, lambda column: column.field_key)
        }
        self._facts: dict[str, sql.Composable] = {
            "records": source.records,
            "key": sql.Identifier(source.key),
            "custom_fields": sql.Identifier(custom_values(source)),
            "view": sql.Identifier(scope.tenant.analytics_schema, f"{source.name}_all"),
            "tenant": sql.Literal(scope.tenant.slug),
            "system": sql.Literal(scope.system),
            "entity": sql.Literal(source.entity),
            "limit": sql.Literal(SHOWN),
        }
        self._facts["is_built"] = sql.SQL(_IS_BUILT).format(**self._facts)

    def are_fields_published(self) -> bool:
        """True unless the view was published without any: they are wanted since then only."""
        names = [column.column_name for rows in self._columns.values() for column in rows]
        row = self._connection.execute(
            "select count(*) from pg_catalog.pg_attribute where attrelid = to_regclass(%s)"
            " and attname = any (%s)",
            (self._facts["view"].as_string(self._connection), [*names, OVERFLOW_COLUMN]),
        ).fetchone()
        return not names or bool(row and row[0])

    def compare_view(self, condition: sql.Composable) -> tuple[int, list[tuple[str, str]]]:
        """Returns the number of values, and id and key of those the view does not show.

        A view evaluates every column that is selected. So the first query selects one column of
        each field, and the second one all columns of the records where that column is empty
        although the field has a value.
        """
        value_count, suspects, _ = self._query_view(condition, is_thorough=False)
        if not suspects:
            return value_count, []
        _, _, hidden = self._query_view(_id_condition(suspects), is_thorough=True)
        return value_count, [(value["id"], value["field"]) for value in hidden or []]

    def compare_mapped_columns(self, condition: sql.Composable) -> list[tuple[str, str]]:
        """Returns id and source of values that are neither in their column nor refused."""
        source = self._source
        if not source.fillings:
            return []
        unfilled = [
            sql.SQL("case when {} is not null and {} then {} end").format(
                filling.value, _is_unfilled(filling), sql.Literal(filling.source)
            )
            for filling in source.fillings
        ]
        query = sql.SQL(_UNFILLED + _LOST).format(
            **self._facts,
            joins=source.joins,
            table=source.identifier,
            remote_id=source.as_key(sql.Identifier("stored", "remote_id")),
            hidden=_array(unfilled),
            condition=condition,
        )
        _, _, lost = self._connection.execute(query).fetchone() or (0, None, None)
        return [(value["id"], value["field"]) for value in lost or []]

    def _query_view(
        self, condition: sql.Composable, *, is_thorough: bool
    ) -> tuple[int, list[str] | None, list[dict[str, Any]] | None]:
        keys = tuple(self._columns)
        unpacked = RawFields(self._source.records, keys, column=custom_values(self._source))
        filled = "{} is not null"
        if is_thorough:  # blank text, or an object that contains only nulls
            filled = "not pipeline.is_empty({})"
        hidden = [
            sql.SQL("case when not ({shown}) and {filled} then {key} end").format(
                shown=_is_shown(
                    self._columns[key] if is_thorough else _cheapest(self._columns[key])
                ),
                filled=sql.SQL(filled).format(unpacked.value(key)),
                key=sql.Literal(key),
            )
            for key in keys
        ]
        query = sql.SQL(_HIDDEN + _LOST).format(
            **self._facts,
            joins=unpacked.joins(),
            remote_id=self._source.as_key(sql.Identifier("view", "remote_id")),
            seen=filled_count([unpacked.value(key) for key in keys]),
            hidden=_array(hidden),
            known=sql.Literal(list(keys)),
            condition=condition,
        )
        return self._connection.execute(query).fetchone() or (0, None, None)


def _cheapest(columns: Sequence[ViewColumn]) -> Sequence[ViewColumn]:
    """Returns one column of a field; the id if there is one, because it needs no name lookup."""
    return sorted(columns, key=lambda column: not column.part.startswith("id"))[:1]


def _is_shown(columns: Sequence[ViewColumn]) -> sql.Composable:
    """Returns a condition that is true if any of a field's columns has a value."""
    if columns[0].is_overflow:
        name = sql.Literal(columns[0].column_name)
        overflow = sql.Identifier("view", OVERFLOW_COLUMN)
        return sql.SQL("coalesce({} ? {}, false)").format(overflow, name)
    return sql.SQL(" or ").join(
        sql.SQL("{} is not null").format(sql.Identifier("view", column.column_name))
        for column in columns
    )


def _is_unfilled(filling: Filling) -> sql.Composable:
    """Returns a condition that is true if the mapped column or attribute is empty."""
    if filling.target.startswith(ATTRIBUTE):
        name = sql.Literal(filling.target.removeprefix(ATTRIBUTE))
        return sql.SQL("not coalesce(stored.attributes ? {}, false)").format(name)
    return sql.SQL("{} is null").format(sql.Identifier("stored", filling.target))


def _array(elements: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL("array_remove(array[{}]::text[], null)").format(sql.SQL(", ").join(elements))


def _unproven_loads(connection: psycopg.Connection, scope: Scope) -> list[str]:
    """Returns the loads since the last comparison.

    The row is not locked, because a read that runs at the same time registers its loads there.
    """
    row = connection.execute(
        """
        select mart_state.unproven_loads
        from integration.mart_state
        where mart_state.tenant_id = %s
            and mart_state.system = %s
        """,
        (scope.tenant.slug, scope.system),
    ).fetchone()
    return list(row[0]) if row else []


def _loaded_ids(connection: psycopg.Connection, source: MartSource, loads: list[str]) -> list[str]:
    """Returns the ids of the records in these loads; of many, those at even distances."""
    if not loads:
        return []
    query = sql.SQL(
        "select record.{key}::text from {records} as record"
        " where record._dlt_load_id = any (%s) order by record.{key} asc"
    ).format(key=sql.Identifier(source.key), records=source.records)
    ids = [row[0] for row in connection.execute(query, (loads,))]
    if len(ids) <= MOST_COMPARED:
        return ids
    return [ids[place * len(ids) // SAMPLE] for place in range(SAMPLE)]


def _id_condition(ids: Sequence[str]) -> sql.Composed:
    """Returns a condition on ``remote_id`` that Postgres pushes through a view's barrier."""
    return sql.SQL("remote_id = any ({}::text[])").format(sql.Literal(list(ids)))


def _halves(connection: psycopg.Connection, source: MartSource) -> list[sql.Composable]:
    """Returns conditions on ``remote_id`` that split the records in half; one if few records.

    They are comparisons, because Postgres pushes those through a view's security barrier to its
    tables. It would apply a modulo only after it has evaluated the whole view.
    """
    if not are_many(connection, source.entity):
        return [sql.SQL("remote_id is not null")]
    query = sql.SQL(
        "select percentile_disc(0.5) within group (order by record.{key}::text)"
        " from {records} as record"
    ).format(key=sql.Identifier(source.key), records=source.records)
    middle = connection.execute(query).fetchone()
    return [sql.SQL(f"remote_id {sign} {{}}").format(*middle or ()) for sign in ("<", ">=")]


def _mark_compared(connection: psycopg.Connection, scope: Scope, loads: list[str]) -> None:
    """Marks the loads as compared."""
    connection.execute(
        """
        update integration.mart_state
        set unproven_loads = array(
            select unproven.load_id
            from unnest(mart_state.unproven_loads) as unproven (load_id)
            where unproven.load_id <> all (%s::text[])
        )
        where mart_state.tenant_id = %s
            and mart_state.system = %s
            and mart_state.unproven_loads <> '{}'
        """,
        (loads, scope.tenant.slug, scope.system),
    )


# Not loaded since the last build, as by a read that runs at the same time.
_IS_BUILT = """{records}._dlt_load_id <> all (
            coalesce(
                (
                    select mart_state.pending_loads
                    from integration.mart_state
                    where mart_state.tenant_id = {tenant}
                        and mart_state.system = {system}
                ),
                '{{}}'
            )
        )"""
_HIDDEN = """
with compared as materialized (
    select
        view.remote_id,
        {seen} as seen_count,
        {hidden} || case
            when sent.custom_fields - {known}::text[] <> '{{}}' or sent.extra is not null
                then array(
                    select stray.key
                    from jsonb_each(
                        case
                            when jsonb_typeof(sent.custom_fields) = 'object'
                                then sent.custom_fields - {known}::text[]
                        end
                    ) as stray (key, value)
                    where not pipeline.is_empty(stray.value)
                    union all
                    select stray.key
                    from jsonb_each(
                        case when jsonb_typeof(sent.extra) = 'object' then sent.extra end
                    ) as stray (key, value)
                    where stray.key ~ '^[0-9a-f]{{40}}$'
                        and stray.key <> all ({known}::text[])
                        and not pipeline.is_empty(stray.value)
                    union all
                    select 'custom_fields'
                    where jsonb_typeof({records}.{custom_fields}) not in ('object', 'null')
                        and not pipeline.is_empty({records}.{custom_fields})
                )
            else '{{}}'
        end as hidden
    from {view} as view
    inner join {records}
        on {records}.{key} = {remote_id}
    {joins}
    where view.system = {system}
        and view.{condition}
        and {is_built}
)
"""
_UNFILLED = """
with compared as materialized (
    select
        stored.remote_id,
        0 as seen_count,
        {hidden} as hidden
    from {table} as stored
    inner join {records}
        on {records}.{key} = {remote_id}
    {joins}
    where stored.tenant_id = {tenant}
        and stored.system = {system}
        and stored.{condition}
        and {is_built}
)
"""
_LOST = """,
lost as materialized (
    select
        compared.remote_id,
        hidden.field
    from compared
    cross join lateral unnest(compared.hidden) as hidden (field)
    where not exists (
        select
        from integration.rejected_values
        where rejected_values.tenant_id = {tenant}
            and rejected_values.system = {system}
            and rejected_values.entity = {entity}
            and rejected_values.record_id = compared.remote_id
            and rejected_values.field = hidden.field
    )
)
select
    (select coalesce(sum(compared.seen_count), 0)::bigint from compared),
    (select array_agg(distinct lost.remote_id) from lost),
    (
        select jsonb_agg(jsonb_build_object('id', shown.remote_id, 'field', shown.field))
        from (
            select
                lost.remote_id,
                lost.field
            from lost
            order by
                lost.remote_id asc,
                lost.field asc
            limit {limit}
        ) as shown
    )
"""
