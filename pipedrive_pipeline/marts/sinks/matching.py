"""Finds which rows of an app's table and of a mart are the same, and reports it.

Nothing of the app is written. What is found are proposals, rows of `integration.sink_links` without
`confirmed_at`; a person confirms them (`adoption.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.declared import mart as mart_of
from pipedrive_pipeline.marts.sinks.app_table import AppTable
from pipedrive_pipeline.marts.sinks.form import MatchRule, Sink
from pipedrive_pipeline.marts.sinks.rules import LINK, normalized, rule_columns, rules_of
from pipedrive_pipeline.marts.sinks.store import require_table, sink_of, sink_transaction
from pipedrive_pipeline.marts.sinks.values import link_value
from pipedrive_pipeline.marts.sinks.writer import SinkWriter, ensure_writer
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.sql_files import sink_file

AMBIGUOUS_LISTED: Final = 200
CANDIDATES_LISTED: Final = 10


@dataclass(frozen=True)
class Candidate:
    """A record that a row of the app may be."""

    remote_id: str
    name: str | None
    matched_by: str
    doubt: str  # several or contradicts


@dataclass(frozen=True)
class AmbiguousRow:
    """A row of the app about which a person decides."""

    app_key: str  # parts of a key of several columns with a comma between them
    values: dict[str, Any]
    candidates: list[Candidate]


@dataclass(frozen=True)
class MatchReport:
    """How the rows of an app's table and the live records of a mart relate.

    Attributes:
        linked: rows of the app that are linked already.
        matched: rows of the app with one certain record, by rule.
        ambiguous: rows of the app that a person decides about.
        left_over: rows of the app without any record.
        new: records without any row of the app; they are inserted.
        listed: the first ambiguous rows, at most 200.
    """

    sink: str
    linked: int
    matched: Mapping[str, int]
    ambiguous: int
    left_over: int
    new: int
    listed: list[AmbiguousRow]


def match(warehouse: Warehouse, scope: Scope, name: str) -> MatchReport:
    """Proposes which rows are the same, in place of earlier proposals, and returns the report.

    Raises:
        BadInput: there is no such sink.
        BadSink, SinkRightsMissing: the app's table is not as the sink needs it.
    """
    with sink_transaction(warehouse, scope) as connection:
        sink = sink_of(connection, scope, name)
        table = require_table(connection, scope, sink)
        writer = ensure_writer(connection, scope, sink, table)
        facts = {"tenant": scope.tenant.slug, "system": scope.system, "sink": sink.name}
        connection.execute(_FORGET, facts)
        _make_tables(connection, scope, sink, table, writer)
        for rule in _rules(sink):
            connection.execute(
                sink_file("match").filled(
                    {
                        **{key: sql.Literal(value) for key, value in facts.items()},
                        "rule": sql.Literal(rule),
                        "rule_column": sql.Identifier(f"by_{rule}"),
                        "is_contradicted": _is_contradicted(sink, rule),
                    }
                )
            )
            if rule == LINK:  # a row that names a record is that record or none
                connection.execute(
                    "update pg_temp.sink_app set is_decided = true where by_link is not null"
                )
        return report(connection, scope, sink, writer)


def report(
    connection: psycopg.Connection, scope: Scope, sink: Sink, writer: SinkWriter
) -> MatchReport:
    """Returns the report of the proposals that are there."""
    facts = {"tenant": scope.tenant.slug, "system": scope.system, "sink": sink.name}
    mart = sql.Identifier(*mart_of(sink.mart).table)
    row = connection.execute(sql.SQL(_COUNTS).format(mart=mart, read=writer.read), facts).fetchone()
    if row is None:
        raise LookupError("a query of counts has a row")
    linked, matched, ambiguous, left_over, new = row
    listed = connection.execute(
        sql.SQL(_LISTED).format(mart=mart, read=writer.read),
        facts | {"rows": AMBIGUOUS_LISTED, "candidates": CANDIDATES_LISTED},
    ).fetchall()
    return MatchReport(
        sink.name,
        linked,
        matched or {},
        ambiguous,
        left_over,
        new,
        [
            AmbiguousRow(",".join(key), shown, [Candidate(**each) for each in candidates])
            for key, shown, candidates in listed
        ],
    )


def match_report(warehouse: Warehouse, scope: Scope, name: str) -> MatchReport:
    """Returns the report of the last `match`, as of now.

    Raises:
        BadInput: there is no such sink.
    """
    with sink_transaction(warehouse, scope) as connection:
        sink = sink_of(connection, scope, name)
        table = require_table(connection, scope, sink)
        return report(connection, scope, sink, ensure_writer(connection, scope, sink, table))


def _rules(sink: Sink) -> list[str]:
    return [*([LINK] if sink.link_column else []), *(rule.rule for rule in sink.match_by or ())]


def _make_tables(
    connection: psycopg.Connection, scope: Scope, sink: Sink, table: AppTable, writer: SinkWriter
) -> None:
    """Makes a temporary table of each side, with a column for each rule."""
    if not _rules(sink):
        raise BadInput(f"the sink {sink.name} has neither match_by nor a link_column.")
    of_app: list[tuple[str, sql.Composable]] = []
    of_crm: list[tuple[str, sql.Composable]] = []
    if sink.link_column:
        shown = sql.SQL("app.shown ->> {}").format(sql.Literal(sink.link_column))
        of_app.append((LINK, shown))
        of_crm.append((LINK, link_value(table.columns[sink.link_column].base)))
    for rule in sink.match_by or ():
        of_app.append((rule.rule, _of_app(sink, rule)))
        of_crm.append((rule.rule, _of_mart(sink, rule)))
    facts = {"tenant": scope.tenant.slug, "system": scope.system, "sink": sink.name}
    for statement, columns in ((_APP_SIDE, of_app), (_CRM_SIDE, of_crm)):
        query = sql.SQL(statement).format(
            columns=sql.SQL(", ").join(
                sql.SQL("{} as {}").format(value, sql.Identifier(f"by_{rule}"))
                for rule, value in columns
            ),
            read=writer.read,
            mart=sql.Identifier(*mart_of(sink.mart).table),
            **{name: sql.Literal(value) for name, value in facts.items()},
        )
        connection.execute(query)
    connection.execute("analyze pg_temp.sink_app")
    connection.execute("analyze pg_temp.sink_crm")


def _of_app(sink: Sink, rule: MatchRule) -> sql.Composable:
    values: list[sql.Composable] = [
        sql.SQL("(app.shown ->> {})").format(sql.Literal(name)) for name in rule_columns(sink, rule)
    ]
    return normalized(rule.rule, values)


def _of_mart(sink: Sink, rule: MatchRule) -> sql.Composable:
    mart = mart_of(sink.mart)
    names = {column.name for column in mart.columns}
    columns = [name for name in rules_of(mart)[rule.rule].columns if name in names]
    return normalized(rule.rule, [sql.Identifier("mart", name) for name in columns])


def _is_contradicted(sink: Sink, rule: str) -> sql.Composable:
    """Returns whether another rule that identifies has two different values."""
    known = rules_of(mart_of(sink.mart))
    others = [
        sql.SQL("{} <> {}").format(
            sql.Identifier("sink_app", f"by_{other.rule}"),
            sql.Identifier("sink_crm", f"by_{other.rule}"),
        )
        for other in sink.match_by or ()
        if rule not in (LINK, other.rule) and known[other.rule].is_identity
    ]
    if not others:
        return sql.SQL("false")
    return sql.SQL("coalesce({}, false)").format(
        sql.SQL(" or ").join(sql.SQL("coalesce({}, false)").format(each) for each in others)
    )


_FORGET = """
delete from integration.sink_links
where sink_links.tenant_id = %(tenant)s
    and sink_links.system = %(system)s
    and sink_links.sink = %(sink)s
    and sink_links.confirmed_at is null
"""
_IS_LINKED: Final = """
select
from integration.sink_links
where sink_links.tenant_id = {tenant}
    and sink_links.system = {system}
    and sink_links.sink = {sink}
    and sink_links.confirmed_at is not null
"""
_APP_SIDE: Final = (
    """
create temporary table sink_app on commit drop as
select app.app_key, {columns}, false as is_decided
from {read} () as app
where not exists ("""
    + _IS_LINKED
    + """ and sink_links.app_key = app.app_key)
"""
)
_CRM_SIDE: Final = (
    """
create temporary table sink_crm on commit drop as
select mart.id as row_id, mart.remote_id, {columns}, false as is_taken, false as is_candidate
from {mart} as mart
where mart.tenant_id = {tenant}
    and mart.system = {system}
    and mart.deleted_at is null
    and not exists ("""
    + _IS_LINKED
    + """ and sink_links.row_id = mart.id)
"""
)
_COUNTS: Final = """
with own as materialized (
    select sink_links.*
    from integration.sink_links
    where sink_links.tenant_id = %(tenant)s
        and sink_links.system = %(system)s
        and sink_links.sink = %(sink)s
),

app as materialized (select rows.app_key from {read} () as rows)

select
    (
        select count(*)
        from app
        where app.app_key in (select own.app_key from own where own.confirmed_at is not null)
    ),
    (
        select jsonb_object_agg(counted.matched_by, counted.rows)
        from (
            select own.matched_by, count(*) as rows
            from own
            where own.confirmed_at is null
                and own.doubt is null
            group by own.matched_by
        ) as counted
    ),
    (
        select count(distinct own.app_key)
        from own
        where own.confirmed_at is null
            and own.doubt is not null
    ),
    (
        select count(*)
        from app
        where app.app_key not in (select own.app_key from own where own.app_key is not null)
    ),
    (
        select count(*)
        from {mart} as mart
        where mart.tenant_id = %(tenant)s
            and mart.system = %(system)s
            and mart.deleted_at is null
            and mart.id not in (select own.row_id from own)
    )
"""
_LISTED: Final = """
with doubtful as materialized (
    select
        sink_links.app_key,
        sink_links.matched_by,
        sink_links.doubt,
        sink_links.remote_id,
        mart.name,
        row_number() over (
            partition by sink_links.app_key
            order by length(sink_links.remote_id), sink_links.remote_id
        ) as place
    from integration.sink_links
    inner join {mart} as mart
        on mart.id = sink_links.row_id
    where sink_links.tenant_id = %(tenant)s
        and sink_links.system = %(system)s
        and sink_links.sink = %(sink)s
        and sink_links.confirmed_at is null
        and sink_links.doubt is not null
),

listed as (
    select
        doubtful.app_key,
        jsonb_agg(
            jsonb_build_object(
                'remote_id', doubtful.remote_id,
                'name', doubtful.name,
                'matched_by', doubtful.matched_by,
                'doubt', doubtful.doubt
            )
            order by doubtful.place
        ) as candidates
    from doubtful
    where doubtful.place <= %(candidates)s
    group by doubtful.app_key
    order by doubtful.app_key
    limit %(rows)s
)

select listed.app_key, app.shown, listed.candidates
from listed
inner join {read} () as app
    on app.app_key = listed.app_key
order by listed.app_key
"""
