"""Previews sinks before they are saved: ten real rows of each, before and after.

The rows are written as a run would write them, with all triggers and constraints of the app, and
the transaction is rolled back. The result contains rows: show it only to people who may read them,
never log it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.marts.declared import mart as mart_of
from pipedrive_pipeline.marts.sinks.adoption import confirm_certain
from pipedrive_pipeline.marts.sinks.app_access import rows_read, rows_written
from pipedrive_pipeline.marts.sinks.app_table import AppTable, app_table
from pipedrive_pipeline.marts.sinks.faults import fault_of, fault_of_rows
from pipedrive_pipeline.marts.sinks.form import BadSink, Sink
from pipedrive_pipeline.marts.sinks.matching import propose
from pipedrive_pipeline.marts.sinks.parsing import parsed
from pipedrive_pipeline.marts.sinks.states import (
    require_table,
    sink_transaction,
    state_key,
    states,
)
from pipedrive_pipeline.marts.sinks.store import (
    active,
    column_statements,
    prepared,
    with_roles,
)
from pipedrive_pipeline.marts.sinks.validation import is_only_paused
from pipedrive_pipeline.marts.sinks.values import kept, wanted
from pipedrive_pipeline.marts.sinks.writer import SinkWriter, ensure_writer
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

    A sink that waits for its matches is shown as if those that are certain were confirmed. Columns
    for link and time that a table lacks are added for the preview.

    Raises:
        BadSink: a declaration cannot be used.
        SinkRightsMissing: the owner of a table must grant rights to the roles that the message
            names, which are kept.
    """
    return with_roles(warehouse, scope, text, partial(_previews, warehouse, scope, text))


def _previews(warehouse: Warehouse, scope: Scope, text: Any) -> list[SinkPreview]:
    with (
        sink_transaction(warehouse, scope) as connection,
        connection.transaction(force_rollback=True),
    ):
        set_local(connection, "statement_timeout", f"{SECONDS}s")
        statements = _added_columns(connection, text)
        before = active(connection, scope)
        previews = []
        for sink in prepared(connection, scope, text, before, is_trial=True).values():
            try:
                previews.append(_previewed(connection, scope, sink, statements.get(sink.name, [])))
            except BadSink:
                if not is_only_paused(sink, before.sinks):
                    raise
        return previews


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
            with rows_read(connection, writer) as app_rows:
                count = connection.execute(
                    sql.SQL("select count(*) from {}").format(app_rows)
                ).fetchone()
                if sink.match_by and states(connection, scope)[sink.name].is_waiting:
                    propose(connection, scope, sink, table, app_rows)
                    confirm_certain(connection, scope, sink, who="a preview")
            rows = _rows(connection, scope, sink, table, writer)
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
    connection: psycopg.Connection, scope: Scope, sink: Sink, table: AppTable, writer: SinkWriter
) -> list[dict[str, Any]]:
    """Writes the newest rows; one that is as it should be is shown with the values that it has."""
    query = sql.SQL(_NEWEST).format(
        mart=sql.Identifier(*mart_of(sink.mart).table),
        wanted=wanted(scope, sink, table),
        kept=kept(sink),
        may_insert=sql.Literal(sink.inserts),
    )
    cursor = connection.cursor(row_factory=dict_row)
    newest = cursor.execute(query, state_key(scope, sink) | {"rows": ROWS}).fetchall()
    set_local(connection, "pipeline.sink_rows", json.dumps([row["item"] for row in newest]))
    with rows_written(connection, writer) as written:
        results = {
            str(row["of_row"]): row
            for row in cursor.execute(sql.SQL("select * from {}").format(written)).fetchall()
        }
    rows = []
    for row in newest:
        item = row["item"]
        result = results.get(item["row_id"])
        rows.append(
            {
                "remote_id": row["remote_id"],
                "outcome": result["outcome"] if result else "unchanged",
                "before": result["values_before"] if result else item["stored"],
                "after": result["values_now"] if result else item["stored"],
                "fault": result["fault"] if result else None,
            }
        )
    return rows


_NEWEST = """
select
    mart.remote_id,
    jsonb_build_object(
        'row_id', mart.id,
        'remote_id', mart.remote_id,
        'app_key', link.app_key,
        'may_insert', {may_insert},
        'wanted', {wanted},
        'asked', link.asked,
        'stored', link.stored,
        'kept', {kept}
    ) as item
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
    and not exists (
        select
        from integration.sink_links as proposal
        where proposal.tenant_id = %(tenant)s
            and proposal.system = %(system)s
            and proposal.sink = %(sink)s
            and proposal.row_id = mart.id
            and proposal.confirmed_at is null
    )
order by
    mart.updated_at desc,
    mart.id desc
limit %(rows)s
"""
