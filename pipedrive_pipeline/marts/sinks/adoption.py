"""Confirms which rows of an app belong to which records, and undoes it.

Only a confirmed link is written, by the next run. What an adopted row had before is kept with its
link, so that `undo` gives it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.declared import mart as mart_of
from pipedrive_pipeline.marts.sinks.app_access import rows_written
from pipedrive_pipeline.marts.sinks.faults import SinkFailed, fault_of, fault_of_rows
from pipedrive_pipeline.marts.sinks.form import APP, Sink
from pipedrive_pipeline.marts.sinks.states import (
    lock_state,
    require_table,
    sink_transaction,
    state_key,
)
from pipedrive_pipeline.marts.sinks.store import sink_of
from pipedrive_pipeline.marts.sinks.writer import ensure_writer
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse, set_local
from pipedrive_pipeline.warehouse.sql_files import sink_file
from pipedrive_pipeline.warehouse.vacuum import renew_statistics

CHUNK_ROWS: Final = 2_000
CHUNK_SECONDS: Final = 120


@dataclass(frozen=True)
class Confirmed:
    """What was confirmed: rows that are linked now, and those that a person has yet to decide."""

    linked: int
    open: int


@dataclass(frozen=True)
class Undone:
    """Rows of the app that have their values back, and are linked no more."""

    rows: int


def confirm(
    warehouse: Warehouse,
    scope: Scope,
    name: str,
    *,
    who: str,
    choices: Mapping[str, str | None] | None = None,
) -> Confirmed:
    """Confirms the certain proposals and a person's choices; the next run writes the rows.

    Args:
        warehouse: where the links are.
        scope: whose sink, of which CRM.
        name: of the sink.
        who: confirms.
        choices: of ambiguous rows, by key of the app (parts with a comma between them): the id of
            one of the candidates, or None if the row is none of them.

    Raises:
        BadInput: there is no such sink, or a choice is none of the candidates; nothing is changed.
    """
    with sink_transaction(warehouse, scope) as connection:
        sink = sink_of(connection, scope, name)
        facts = state_key(scope, sink)
        lock_state(connection, scope, sink)
        for key, remote_id in (choices or {}).items():
            _choose(connection, facts, sink, key, remote_id)
        mart = sql.Identifier(*mart_of(sink.mart).table)
        connection.execute(sql.SQL(_FORGET_GONE).format(mart=mart), facts)
        linked = confirm_certain(connection, scope, sink, who=who)
        row = connection.execute(_OPEN, facts).fetchone()
        connection.execute(_START, facts)
        confirmed = Confirmed(linked, row[0] if row else 0)
        _audit(connection, scope, sink, who, confirm=vars(confirmed))
    renew_statistics(warehouse, {("integration", "sink_links"): ()})
    return confirmed


def confirm_certain(connection: psycopg.Connection, scope: Scope, sink: Sink, *, who: str) -> int:
    """Confirms the proposals that are not in doubt; returns how many."""
    unset = Jsonb(dict.fromkeys(sink.written_columns)) if sink.on_conflict == APP else None
    facts = state_key(scope, sink) | {"who": who, "stored": unset}
    return connection.execute(_CONFIRM, facts).rowcount


def undo(warehouse: Warehouse, scope: Scope, name: str, *, who: str) -> Undone:
    """Gives adopted rows the values back that they had, and stops the sink until `confirm`.

    A column that the app has edited since keeps that value. Rows that the sink inserted stay.

    Raises:
        BadInput: there is no such sink.
        SinkFailed: the app's table refuses some rows; all others have their values back.
    """
    restored, after_id, faults = 0, 0, []
    with sink_transaction(warehouse, scope) as connection:
        sink = sink_of(connection, scope, name)
        connection.execute(_STOP, state_key(scope, sink))
    while True:
        try:
            rows, last_id, count, refused = _undo_chunk(warehouse, scope, sink, after_id)
        except psycopg.Error as error:
            raise SinkFailed(f"{scope.tenant}: {fault_of(sink, error)['message']}") from None
        restored += count
        faults += refused or []
        if rows < CHUNK_ROWS:
            break
        after_id = last_id
    with sink_transaction(warehouse, scope) as connection:
        _audit(connection, scope, sink, who, undo={"rows": restored})
    if faults:
        raise SinkFailed(f"{scope.tenant}: {fault_of_rows(sink, faults)['message']}")
    return Undone(restored)


def _undo_chunk(
    warehouse: Warehouse, scope: Scope, sink: Sink, after_id: int
) -> tuple[int, int, int, list[dict[str, str]] | None]:
    with sink_transaction(warehouse, scope) as connection:
        set_local(connection, "statement_timeout", f"{CHUNK_SECONDS}s")
        lock_state(connection, scope, sink)
        table = require_table(connection, scope, sink)
        writer = ensure_writer(connection, scope, sink, table)
        values = {
            **{name: sql.Literal(value) for name, value in state_key(scope, sink).items()},
            "after_id": sql.Literal(after_id),
        }
        chosen = sink_file("undo").filled({**values, "chunk_rows": sql.Literal(CHUNK_ROWS)})
        row = connection.execute(chosen).fetchone()
        if row is None or not row[0]:
            return 0, after_id, 0, None
        rows, last_id, _length = row
        with rows_written(connection, writer) as written:
            forgotten = sink_file("unlink").filled(
                {**values, "last_id": sql.Literal(last_id), "written": written}
            )
            result = connection.execute(forgotten).fetchone()
        count, refused = result or (0, None)
        return rows, last_id, count, refused


def _choose(
    connection: psycopg.Connection,
    facts: Mapping[str, str],
    sink: Sink,
    key: str,
    remote_id: str | None,
) -> None:
    values = {**facts, "key": key, "remote_id": remote_id}
    if remote_id is None:
        changed = connection.execute(_REFUSE, values).rowcount
    else:
        changed = connection.execute(_CHOOSE, values).rowcount
        connection.execute(_FORGET_RIVALS, values)
    if not changed:
        what = f"{remote_id} is no candidate of it" if remote_id else "it has no candidates"
        raise BadInput(
            f"the row {key} of {sink.table_name} cannot be decided so: {what}; `sinks match` lists "
            "the rows that a person decides about."
        )


def _audit(
    connection: psycopg.Connection, scope: Scope, sink: Sink, who: str, **done: Mapping[str, int]
) -> None:
    ((action, after),) = done.items()
    connection.execute(
        "insert into integration.audit_log (who, tenant_id, action, subject, after)"
        " values (%s, %s, %s, %s, %s)",
        [who, scope.tenant.slug, f"sinks.{action}", sink.name, Jsonb(dict(after))],
    )


_OF_SINK: Final = """
    sink_links.tenant_id = %(tenant)s
    and sink_links.system = %(system)s
    and sink_links.sink = %(sink)s
"""
_START: Final = """
update integration.sink_states
set is_waiting = false, cursor_at = null, cursor_id = null
where sink_states.tenant_id = %(tenant)s
    and sink_states.system = %(system)s
    and sink_states.sink = %(sink)s
"""
_STOP: Final = """
update integration.sink_states
set is_waiting = true
where sink_states.tenant_id = %(tenant)s
    and sink_states.system = %(system)s
    and sink_states.sink = %(sink)s
"""
_PROPOSALS: Final = f"{_OF_SINK} and sink_links.confirmed_at is null"
_KEY: Final = "array_to_string(sink_links.app_key, ',') = %(key)s"
_REFUSE: Final = f"delete from integration.sink_links where {_PROPOSALS} and {_KEY}"
_CHOOSE: Final = f"""
update integration.sink_links
set matched_by = 'person', doubt = null
where {_PROPOSALS}
    and {_KEY}
    and sink_links.remote_id = %(remote_id)s
"""
_FORGET_RIVALS: Final = f"""
delete from integration.sink_links
where {_PROPOSALS}
    and sink_links.doubt is not null
    and ({_KEY} or sink_links.remote_id = %(remote_id)s)
"""
_FORGET_GONE: Final = f"""
delete from integration.sink_links
where {_PROPOSALS}
    and not exists (
        select
        from {{mart}} as mart
        where mart.id = sink_links.row_id
            and mart.deleted_at is null
    )
"""
_CONFIRM: Final = f"""
update integration.sink_links
set confirmed_at = now(), confirmed_by = %(who)s, stored = %(stored)s
where {_PROPOSALS}
    and sink_links.doubt is null
"""
_OPEN: Final = f"""
select count(distinct sink_links.app_key)
from integration.sink_links
where {_PROPOSALS}
"""
