"""Finds which rows of an app's table and of a mart are the same, and reports it.

Nothing of the app is written. What is found are proposals, rows of `integration.sink_links` without
`confirmed_at`; a person confirms them (`adoption.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.declared import mart as mart_of
from pipedrive_pipeline.marts.sinks.app_access import rows_read
from pipedrive_pipeline.marts.sinks.app_table import AppTable
from pipedrive_pipeline.marts.sinks.form import MatchRule, Sink
from pipedrive_pipeline.marts.sinks.match_reports import MatchReport, report
from pipedrive_pipeline.marts.sinks.match_rules import LINK, normalized, rule_columns, rules_of
from pipedrive_pipeline.marts.sinks.states import require_table, sink_transaction, state_key
from pipedrive_pipeline.marts.sinks.store import sink_of
from pipedrive_pipeline.marts.sinks.values import link_value
from pipedrive_pipeline.marts.sinks.writer import ensure_writer
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.sql_files import sink_file


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
        with rows_read(connection, writer) as rows:
            propose(connection, scope, sink, table, rows)
            return report(connection, scope, sink, rows)


def propose(
    connection: psycopg.Connection, scope: Scope, sink: Sink, table: AppTable, rows: sql.Identifier
) -> None:
    """Stores proposals in place of the earlier ones; `rows` has the rows of the app.

    Raises:
        BadInput: the sink has no rule.
    """
    if not _rules(sink):
        raise BadInput(f"the sink {sink.name} has neither match_by nor a link_column.")
    facts = state_key(scope, sink)
    connection.execute(_FORGET, facts)
    _make_tables(connection, scope, sink, table, rows)
    for rule in _rules(sink):
        connection.execute(_proposals(sink, rule, facts))
        if rule == LINK:  # a row that names a record is that record or none
            connection.execute(
                "update pg_temp.sink_app set is_decided = true where by_link is not null"
            )
    connection.execute("drop table pg_temp.sink_app, pg_temp.sink_crm")


def _proposals(sink: Sink, rule: str, facts: Mapping[str, str]) -> sql.Composed:
    """Returns the statement that proposes pairs by one rule."""
    return sink_file("match").filled(
        {
            **{key: sql.Literal(value) for key, value in facts.items()},
            "rule": sql.Literal(rule),
            "rule_column": sql.Identifier(f"by_{rule}"),
            "is_contradicted": _is_contradicted(sink, rule),
        }
    )


def _rules(sink: Sink) -> list[str]:
    return [*([LINK] if sink.link_column else []), *(rule.rule for rule in sink.match_by or ())]


def _make_tables(
    connection: psycopg.Connection, scope: Scope, sink: Sink, table: AppTable, rows: sql.Identifier
) -> None:
    """Makes a temporary table of each side, with a column for each rule."""
    of_app: list[tuple[str, sql.Composable]] = []
    of_crm: list[tuple[str, sql.Composable]] = []
    if sink.link_column:
        shown = sql.SQL("app.shown ->> {}").format(sql.Literal(sink.link_column))
        of_app.append((LINK, shown))
        of_crm.append((LINK, link_value(table.columns[sink.link_column].base)))
    for rule in sink.match_by or ():
        of_app.append((rule.rule, _of_app(sink, rule)))
        of_crm.append((rule.rule, _of_mart(sink, rule)))
    facts = state_key(scope, sink)
    for statement, columns in ((_APP_SIDE, of_app), (_CRM_SIDE, of_crm)):
        query = sql.SQL(statement).format(
            columns=sql.SQL(", ").join(
                sql.SQL("{} as {}").format(value, sql.Identifier(f"by_{rule}"))
                for rule, value in columns
            ),
            rows=rows,
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
from {rows} as app
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
