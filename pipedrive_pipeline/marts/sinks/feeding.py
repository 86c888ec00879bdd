"""Feeds sinks: writes into the apps' tables what the marts have, after the marts are committed.

A chunk of rows is one transaction with the sink's cursor, so that memory is bounded and a sink that
fails goes on where it was. Rows are read by `(updated_at, id)`: builds of a tenant follow one
another, so a row that is committed later has a later time than all that were seen. A refresh reads
what changed since the cursor; every other run compares all rows, which finds what the app changed
or deleted, and writes those that differ only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

import psycopg
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from pipedrive_pipeline.errors import (
    DatabaseUnavailable,
    DiskFull,
    PipelineError,
    Superseded,
)
from pipedrive_pipeline.marts.declared import mart as mart_of
from pipedrive_pipeline.marts.sinks.app_access import rows_written
from pipedrive_pipeline.marts.sinks.app_table import AppTable
from pipedrive_pipeline.marts.sinks.faults import fault_of, fault_of_rows
from pipedrive_pipeline.marts.sinks.form import Sink
from pipedrive_pipeline.marts.sinks.states import (
    lock_state,
    require_table,
    sink_transaction,
    state_key,
)
from pipedrive_pipeline.marts.sinks.store import active, keep_roles
from pipedrive_pipeline.marts.sinks.values import kept, used_columns, wanted
from pipedrive_pipeline.marts.sinks.writer import SinkRightsMissing, SinkWriter, ensure_writer
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse, set_local
from pipedrive_pipeline.warehouse.sql_files import sink_file

CHUNK_ROWS: Final = 2_000
CHUNK_SECONDS: Final = 120  # of one statement, with all triggers of the app
LOCK_ATTEMPTS: Final = 3  # each waits up to five seconds
OF_THE_SERVER: Final = ("08", "53", "57P")  # classes of SQLSTATE
# A chunk that is refused whole has one cause, and the rest of the rows would have it, too.
WHOLE_CHUNK_ROWS: Final = 100

T = TypeVar("T")
Position = tuple[datetime, UUID]


class _ChunkFailed(Exception):
    """A chunk was rolled back; carries what Postgres refused, and whether a lock was the cause."""

    def __init__(self, fault: dict[str, str], *, is_locked: bool) -> None:
        super().__init__(fault["message"])
        self.fault, self.is_locked = fault, is_locked


class _SinkChanged(Exception):
    """The sink was changed, stopped or removed meanwhile; the next run feeds what it is by then."""


@dataclass
class SinkFed:
    """What a run of one sink came to.

    Attributes:
        counts: rows by outcome: created, updated, unchanged, missing, refused.
        fault: why not all rows were written; None if they were.
    """

    sink: Sink
    counts: Counter[str] = field(default_factory=Counter)
    fault: dict[str, str] | None = None

    @property
    def message(self) -> str | None:
        """Returns the fault as a sentence, without any value; None without one."""
        return self.fault["message"] if self.fault else None


@dataclass(frozen=True)
class _SinkChunk:
    """One chunk that was written: how many rows of the mart, the last of them, what came of it."""

    rows: int
    end: Position | None
    counts: Counter[str]
    faults: list[dict[str, str]]


def feed_sinks(warehouse: Warehouse, scope: Scope, *, is_whole: bool) -> list[SinkFed]:
    """Feeds every sink of a system, one after another; a failing one does not stop the next.

    A paused sink is left out.

    Args:
        warehouse: of a run, or any.
        scope: whose sinks, of which CRM.
        is_whole: compare all rows, not only those that changed since the sink's cursor.

    Raises:
        Superseded: this run may not write any more.
    """
    with sink_transaction(warehouse, scope) as connection:
        sinks = active(connection, scope).sinks
    fed = []
    for sink in sinks.values():
        if sink.is_paused:
            continue
        result = SinkFed(sink)
        try:
            is_fed = _fed(warehouse, scope, result, is_whole=is_whole)
        except (DatabaseUnavailable, DiskFull, Superseded):
            raise
        except _SinkChanged:
            is_fed = False
        except _ChunkFailed as failed:
            result.fault, is_fed = failed.fault, True
        except PipelineError as error:  # the app's table was changed, or rights were taken away
            result.fault, is_fed = {"code": error.code, "message": str(error)}, True
            if isinstance(error, SinkRightsMissing):
                keep_roles(warehouse, scope, [sink])
        if is_fed:
            _store(warehouse, scope, result)
            fed.append(result)
    return fed


def _fed(warehouse: Warehouse, scope: Scope, result: SinkFed, *, is_whole: bool) -> bool:
    """Feeds one sink; returns False if it waits for a person."""
    position = _start(warehouse, scope, result.sink)
    if position is None:
        return False
    # By itself, since nobody else changes rights until a transaction that does so has ended.
    _attempted(warehouse, scope, result.sink, partial(_writer, scope=scope, sink=result.sink))
    start: Position | None = position[0]
    if not is_whole and start:
        _add(result, _chunk(warehouse, scope, result.sink, start, is_retry=True))
    start = None if is_whole else start
    while True:
        chunk = _chunk(warehouse, scope, result.sink, start)
        _add(result, chunk)
        if chunk.end is None or chunk.rows < CHUNK_ROWS:
            return True
        if chunk.counts["refused"] == chunk.rows >= WHOLE_CHUNK_ROWS:
            return True
        start = chunk.end


def _start(warehouse: Warehouse, scope: Scope, sink: Sink) -> tuple[Position | None] | None:
    """Returns the sink's cursor in a tuple; None if the sink waits for a person."""
    with sink_transaction(warehouse, scope) as connection:
        row = connection.execute(_STATE, state_key(scope, sink)).fetchone()
    if row is None or row[0]:
        return None
    return ((row[1], row[2]) if row[1] else None,)


def _chunk(
    warehouse: Warehouse,
    scope: Scope,
    sink: Sink,
    start: Position | None,
    *,
    is_retry: bool = False,
) -> _SinkChunk:
    """Writes one chunk in a transaction of its own."""
    write = partial(_written, scope=scope, sink=sink, start=start, is_retry=is_retry)
    return _attempted(warehouse, scope, sink, write)


def _attempted(
    warehouse: Warehouse, scope: Scope, sink: Sink, work: Callable[[psycopg.Connection], T]
) -> T:
    """Returns what work in a transaction returns; tries again where rows are locked."""
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            # Twice: for the statement, before the warehouse renames its error, and for the commit.
            with (
                _faults_named(sink),
                sink_transaction(warehouse, scope) as connection,
                _faults_named(sink),
            ):
                set_local(connection, "statement_timeout", f"{CHUNK_SECONDS}s")
                return work(connection)
        except _ChunkFailed as failed:
            if attempt == LOCK_ATTEMPTS or not failed.is_locked:
                raise
    raise AssertionError  # the last attempt returns or raises


@contextmanager
def _faults_named(sink: Sink) -> Iterator[None]:
    """Raises what Postgres refuses as `_ChunkFailed`, but not that the server is gone or full."""
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate is None or error.sqlstate.startswith(OF_THE_SERVER):
            raise
        is_locked = isinstance(error, errors.LockNotAvailable | errors.DeadlockDetected)
        raise _ChunkFailed(fault_of(sink, error), is_locked=is_locked) from None


def _written(
    connection: psycopg.Connection,
    scope: Scope,
    sink: Sink,
    start: Position | None,
    *,
    is_retry: bool,
) -> _SinkChunk:
    table, writer = _writer(connection, scope, sink)
    facts = state_key(scope, sink)
    is_due: sql.Composable = sql.SQL("true")
    if is_retry:
        is_due = sql.SQL(_WAS_REFUSED).format(**facts)
    elif start:
        is_due = sql.SQL(_IS_AFTER).format(at=start[0], id=start[1])
    query = _chunk_query(sink, wanted(scope, sink, table), is_due, facts)
    row = connection.execute(query).fetchone()
    if row is None:
        raise LookupError("a query of counts has a row")
    rows, given, end_at, end_id, _length = row
    outcomes, faults = _stored(connection, writer, facts) if given else (None, None)
    counts = Counter(outcomes or {})
    counts["unchanged"] += given - counts.total()
    if end_at and not is_retry:
        connection.execute(_MOVE, facts | {"end_at": end_at, "end_id": end_id})
    return _SinkChunk(rows, (end_at, end_id) if end_at else None, counts, faults or [])


def _writer(
    connection: psycopg.Connection, scope: Scope, sink: Sink
) -> tuple[AppTable, SinkWriter]:
    """Returns the app's table and what writes it; the sink is as it was, and stays so."""
    lock_state(connection, scope, sink)
    _require_unchanged(connection, scope, sink)
    table = require_table(connection, scope, sink)
    return table, ensure_writer(connection, scope, sink, table)


def _require_unchanged(connection: psycopg.Connection, scope: Scope, sink: Sink) -> None:
    """Returns if the sink is declared as before and may be fed; its state is locked.

    Raises:
        _SinkChanged: it is not.
    """
    row = connection.execute(_STATE, state_key(scope, sink)).fetchone()
    if row is None or row[0] or active(connection, scope).sinks.get(sink.name) != sink:
        raise _SinkChanged


def _stored(
    connection: psycopg.Connection, writer: SinkWriter, facts: Mapping[str, str]
) -> tuple[dict[str, int] | None, list[dict[str, str]] | None]:
    """Writes the rows of `_chunk_query`; returns the rows by outcome, and the faults."""
    with rows_written(connection, writer) as written:
        literals = {name: sql.Literal(value) for name, value in facts.items()}
        query = sink_file("links").filled({**literals, "written": written})
        row = connection.execute(query).fetchone()
    return (row[0], row[1]) if row else (None, None)


def _chunk_query(
    sink: Sink,
    values: sql.Composable,
    is_due: sql.Composable,
    facts: Mapping[str, str],
) -> sql.Composed:
    """Returns the statement that chooses the rows of one chunk, and counts them."""
    columns = ("id", "remote_id", "deleted_at", "updated_at", *used_columns(sink.columns))
    return sink_file("chunk").filled(
        {
            **{name: sql.Literal(value) for name, value in facts.items()},
            "columns": sql.SQL(", ").join(
                sql.Identifier("mart", name) for name in dict.fromkeys(columns)
            ),
            "mart": sql.Identifier(*mart_of(sink.mart).table),
            "is_due": is_due,
            "chunk_rows": sql.Literal(CHUNK_ROWS),
            "wanted": values,
            "kept": kept(sink),
            "may_insert": sql.SQL("case when link.app_key is null then {} else {} end").format(
                sql.Literal(sink.inserts), sql.Literal(sink.reinserts)
            ),
            "inserts": sql.Literal(sink.inserts),
        }
    )


def _add(result: SinkFed, chunk: _SinkChunk) -> None:
    result.counts.update(chunk.counts)
    if chunk.faults and result.fault is None:
        result.fault = fault_of_rows(result.sink, chunk.faults)


def _store(warehouse: Warehouse, scope: Scope, result: SinkFed) -> None:
    with sink_transaction(warehouse, scope) as connection:
        connection.execute(
            _STORE,
            state_key(scope, result.sink)
            | {
                "counts": Jsonb(dict(result.counts)),
                "fault": Jsonb(result.fault) if result.fault else None,
            },
        )


_STATE = """
select sink_states.is_waiting, sink_states.cursor_at, sink_states.cursor_id
from integration.sink_states
where sink_states.tenant_id = %(tenant)s
    and sink_states.system = %(system)s
    and sink_states.sink = %(sink)s
    and sink_states.is_active
"""
_MOVE = """
update integration.sink_states
set cursor_at = %(end_at)s, cursor_id = %(end_id)s
where sink_states.tenant_id = %(tenant)s
    and sink_states.system = %(system)s
    and sink_states.sink = %(sink)s
    and (
        sink_states.cursor_at is null
        or (sink_states.cursor_at, sink_states.cursor_id) < (%(end_at)s, %(end_id)s)
    )
"""
_STORE = """
update integration.sink_states
set counts = %(counts)s,
    fed_at = case when %(fault)s::jsonb is null then clock_timestamp() else sink_states.fed_at end,
    fault = %(fault)s,
    fault_since = case
        when %(fault)s::jsonb is not null then coalesce(sink_states.fault_since, clock_timestamp())
    end,
    refused_count = (
        select count(*)
        from integration.sink_links
        where sink_links.tenant_id = %(tenant)s
            and sink_links.system = %(system)s
            and sink_links.sink = %(sink)s
            and sink_links.fault is not null
    )
where sink_states.tenant_id = %(tenant)s
    and sink_states.system = %(system)s
    and sink_states.sink = %(sink)s
"""
_IS_AFTER = "(mart.updated_at, mart.id) > ({at}::timestamptz, {id}::uuid)"
_WAS_REFUSED = """
mart.id in (
    select sink_links.row_id
    from integration.sink_links
    where sink_links.tenant_id = {tenant}
        and sink_links.system = {system}
        and sink_links.sink = {sink}
        and sink_links.fault is not null
)
"""
