"""How far each sink of a tenant has come, and the transactions in which sinks are read and fed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from pipedrive_pipeline.marts.mapping.form import Issue
from pipedrive_pipeline.marts.sinks.app_table import AppTable, app_table
from pipedrive_pipeline.marts.sinks.form import BadSink, Sink
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

# Types of the app are then read with their schema, as the sinks' functions need them.
SEARCH_PATH: Final = ("pg_catalog",)


@dataclass(frozen=True)
class SinkState:
    """How far a sink has come.

    Attributes:
        is_paused: nothing is written, as its declaration says.
        is_waiting: nothing is written until a person has confirmed the matches.
        fed_at: when it was last fed without a fault; None: never.
        counts: rows by outcome of the last run.
        fault: why not all rows could be written: sqlstate, table, column, constraint, message.
        refused_count: rows that the app's table refuses.
        role: the role whose rights its function has; None before it was made.
    """

    sink: str
    mart: str
    app_table: str
    is_paused: bool
    is_waiting: bool
    fed_at: datetime | None
    counts: dict[str, int] | None
    fault: dict[str, str] | None
    fault_since: datetime | None
    refused_count: int
    role: str | None
    linked_count: int
    proposed_count: int

    @property
    def state(self) -> str:
        """paused, waiting, failing, fed, or new."""
        if self.is_paused:
            return "paused"
        if self.is_waiting:
            return "waiting"
        if self.fault:
            return "failing"
        return "fed" if self.fed_at else "new"


def state_facts(state: SinkState) -> dict[str, Any]:
    """Returns a state's values for JSON."""
    return {"state": state.state} | {
        name: value for name, value in vars(state).items() if name != "sink"
    }


@contextmanager
def sink_transaction(warehouse: Warehouse, scope: Scope) -> Iterator[psycopg.Connection]:
    """Yields a transaction of the engine in which an app's types have their schema."""
    with warehouse.transaction(scope.tenant, SEARCH_PATH) as connection:
        yield connection


def states(connection: psycopg.Connection, scope: Scope) -> dict[str, SinkState]:
    """Returns the state of each active sink, by name."""
    rows = connection.cursor(row_factory=class_row(SinkState)).execute(
        _STATES, [scope.tenant.slug, scope.system]
    )
    return {row.sink: row for row in rows}


def state_key(scope: Scope, sink: Sink) -> dict[str, str]:
    """Returns what identifies a sink in `integration.sink_states` and `sink_links`."""
    return {"tenant": scope.tenant.slug, "system": scope.system, "sink": sink.name}


def lock_state(connection: psycopg.Connection, scope: Scope, sink: Sink) -> None:
    """Waits until no other transaction writes this sink, and keeps others waiting until the end.

    Two runs of a sink take turns, and the second sees the links of the first.
    """
    connection.execute(_LOCK, state_key(scope, sink))


def require_table(connection: psycopg.Connection, scope: Scope, sink: Sink) -> AppTable:
    """Returns the app's table.

    Raises:
        BadSink: it is gone, or lacks a column that the sink needs.
    """
    table = app_table(connection, sink.table)
    if table is None:
        raise BadSink(scope.tenant, [Issue(f"{sink.name}.table", f"{sink.table_name} is gone")])
    needed = (*sink.key, sink.tenant_column, *sink.written_columns)
    if missing := [name for name in needed if name and name not in table.columns]:
        issue = f"{sink.table_name} has no column {', '.join(missing)}"
        raise BadSink(scope.tenant, [Issue(f"{sink.name}.columns", issue)])
    if not table.keys:
        raise BadSink(scope.tenant, [Issue(f"{sink.name}.key", f"{sink.table_name} has no key")])
    return table


_STATES = """
select
    sink_states.sink,
    sink_states.mart,
    sink_states.app_table,
    coalesce((declared.sinks -> sink_states.sink ->> 'paused')::boolean, false) as is_paused,
    sink_states.is_waiting,
    sink_states.fed_at,
    sink_states.counts,
    sink_states.fault,
    sink_states.fault_since,
    sink_states.refused_count,
    case
        when sink_states.installed is not null
            then integration.role_name('sink_' || sink_states.id)
    end as role,
    linked.confirmed as linked_count,
    linked.proposed as proposed_count
from integration.sink_states
left join integration.sinks as declared
    on declared.tenant_id = sink_states.tenant_id
    and declared.system = sink_states.system
    and declared.is_active
cross join lateral (
    select
        count(*) filter (where sink_links.confirmed_at is not null) as confirmed,
        count(distinct sink_links.app_key) filter (where sink_links.confirmed_at is null)
            as proposed
    from integration.sink_links
    where sink_links.tenant_id = sink_states.tenant_id
        and sink_links.system = sink_states.system
        and sink_links.sink = sink_states.sink
        and (sink_links.app_key is not null)
) as linked
where sink_states.tenant_id = %s
    and sink_states.system = %s
    and sink_states.is_active
order by sink_states.sink
"""
_LOCK: Final = """
select from integration.sink_states
where sink_states.tenant_id = %(tenant)s
    and sink_states.system = %(system)s
    and sink_states.sink = %(sink)s
for no key update
"""
