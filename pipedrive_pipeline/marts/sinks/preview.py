"""Previews sinks before they are saved: ten real rows of each, before and after.

The rows are written as a run would write them, with all triggers and constraints of the app, and
the transaction is rolled back. The result contains rows: show it only to people who may read them,
never log it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.marts.declared import mart as mart_of
from pipedrive_pipeline.marts.sinks.app_table import AppTable, app_table
from pipedrive_pipeline.marts.sinks.faults import fault_of, fault_of_rows
from pipedrive_pipeline.marts.sinks.form import Sink, parsed
from pipedrive_pipeline.marts.sinks.store import (
    active,
    column_statements,
    prepared,
    require_table,
    sink_transaction,
)
from pipedrive_pipeline.marts.sinks.values import kept, wanted
from pipedrive_pipeline.marts.sinks.writer import ensure_writer
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse, set_local

ROWS: Final = 10
SECONDS: Final = 60  # of one statement


@dataclass(frozen=True)
class SinkPreview:
    """What a sink would do.

    Attributes:
        rows: up to ten: remote_id, outcome, before and after by column of the app.
        fault: why rows would be refused, as a sentence; None if none of these would be.
        statements: SQL that adds the columns for link and time, empty if they are there.
        triggers: of the app's table; they run with the rights of the role.
        role: the role that needs rights where the triggers do more.
        app_rows: rows of the tenant that the table has.
    """

    sink: Sink
    rows: list[dict[str, Any]]
    fault: str | None
    statements: list[str]
    triggers: tuple[str, ...]
    role: str
    app_rows: int


def preview_facts(preview: SinkPreview) -> dict[str, Any]:
    """Returns a preview's values for JSON."""
    return {
        "mart": preview.sink.mart,
        "table": preview.sink.table_name,
        **{name: value for name, value in vars(preview).items() if name != "sink"},
    }


def preview(warehouse: Warehouse, scope: Scope, text: Any) -> list[SinkPreview]:
    """Returns what sinks would write, in the order in which they are fed; nothing is kept.

    Columns for link and time that a table lacks are added for the preview.

    Raises:
        BadSink: a declaration cannot be used.
        SinkRightsMissing: the owner of a table must grant rights.
    """
    with (
        sink_transaction(warehouse, scope) as connection,
        connection.transaction(force_rollback=True),
    ):
        set_local(connection, "statement_timeout", f"{SECONDS}s")
        statements = _added_columns(connection, text)
        sinks = prepared(connection, scope, text, active(connection, scope), is_trial=True)
        return [
            _previewed(connection, scope, sink, statements.get(sink.name, []))
            for sink in sinks.values()
        ]


def _added_columns(connection: psycopg.Connection, text: Any) -> Mapping[str, list[str]]:
    statements: dict[str, list[str]] = {}
    for sink in parsed(text)[0].values():
        table = app_table(connection, sink.table)
        if table and table.is_grantable:
            added = column_statements(table, sink)
            for statement in added:
                connection.execute(statement)
            statements[sink.name] = [statement.as_string(connection) for statement in added]
    return statements


def _previewed(
    connection: psycopg.Connection, scope: Scope, sink: Sink, statements: list[str]
) -> SinkPreview:
    table = require_table(connection, scope, sink)
    writer = ensure_writer(connection, scope, sink, table)
    rows: list[dict[str, Any]] = []
    fault = None
    try:
        with connection.transaction():
            count = connection.execute(
                sql.SQL("select count(*) from {} ()").format(writer.read)
            ).fetchone()
            rows = _rows(connection, scope, sink, table, writer.write)
    except psycopg.Error as error:
        count, fault = None, fault_of(sink, error)["message"]
    refused = [row["fault"] | {"remote_id": row["remote_id"]} for row in rows if row["fault"]]
    if refused:
        fault = fault_of_rows(sink, refused)["message"]
    return SinkPreview(
        sink,
        [{key: row[key] for key in ("remote_id", "outcome", "before", "after")} for row in rows],
        fault,
        statements,
        table.triggers,
        writer.role,
        count[0] if count else 0,
    )


def _rows(
    connection: psycopg.Connection,
    scope: Scope,
    sink: Sink,
    table: AppTable,
    write: sql.Identifier,
) -> list[dict[str, Any]]:
    query = sql.SQL(_PREVIEW).format(
        mart=sql.Identifier(*mart_of(sink.mart).table),
        wanted=wanted(scope, sink, table),
        kept=kept(sink),
        may_insert=sql.Literal(sink.inserts),
        write=write,
    )
    facts = {
        "tenant": scope.tenant.slug,
        "system": scope.system,
        "sink": sink.name,
        "rows": ROWS,
    }
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(query, facts).fetchall()


# The newest rows. A row that is as it should be is shown with the values that it has.
_PREVIEW = """
with newest as materialized (
    select
        mart.id,
        mart.remote_id,
        mart.updated_at,
        link.app_key,
        {wanted} as wanted,
        link.asked,
        link.stored,
        {kept} as kept
    from {mart} as mart
    left join integration.sink_links as link
        on link.tenant_id = %(tenant)s
        and link.system = %(system)s
        and link.sink = %(sink)s
        and link.row_id = mart.id
        and link.confirmed_at is not null
    where mart.tenant_id = %(tenant)s
        and mart.system = %(system)s
        and mart.deleted_at is null
        and ({may_insert} or link.app_key is not null)
    order by
        mart.updated_at desc,
        mart.id desc
    limit %(rows)s
)

select
    newest.remote_id,
    coalesce(result.outcome, 'unchanged') as outcome,
    case when result.of_row is null then newest.stored else result.values_before end as before,
    case when result.of_row is null then newest.stored else result.values_now end as after,
    result.fault
from newest
left join lateral {write} (
    jsonb_build_array(
        jsonb_build_object(
            'row_id', newest.id,
            'app_key', newest.app_key,
            'may_insert', {may_insert},
            'wanted', newest.wanted,
            'asked', newest.asked,
            'stored', newest.stored,
            'kept', newest.kept
        )
    )
) as result on true
order by
    newest.updated_at desc,
    newest.id desc
"""
