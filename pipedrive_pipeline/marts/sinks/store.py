"""Reads and saves the versions of a tenant's sinks, and how far each has come.

Exactly one version is active. Saving checks it against the catalogue and makes roles and functions
in the same transaction, so that an active version can be run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipedrive_pipeline.errors import BadInput, PersonMustAct
from pipedrive_pipeline.marts.mapping.form import Issue
from pipedrive_pipeline.marts.sinks.app_table import AppTable, app_table
from pipedrive_pipeline.marts.sinks.form import BadSink, Sink, parsed
from pipedrive_pipeline.marts.sinks.validation import in_order, missing_columns, validated
from pipedrive_pipeline.marts.sinks.writer import SinkRightsMissing, drop_writer, ensure_writer
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

# Types of the app are then read with their schema, as the sinks' functions need them.
SEARCH_PATH: Final = ("pg_catalog",)


class SinksOutdated(PersonMustAct):
    """Another version was saved meanwhile; look at it and try again."""

    code = "sinks_outdated"


@dataclass(frozen=True)
class SinksVersion:
    """One saved version; number 0 means that none was saved."""

    number: int = 0
    sinks: Mapping[str, Sink] = field(default_factory=dict)
    saved_at: datetime | None = None
    saved_by: str | None = None

    def written(self) -> dict[str, Any]:
        """Returns the declarations as JSON."""
        return {name: sink.written() for name, sink in self.sinks.items()}


@dataclass(frozen=True)
class SinkState:
    """How far a sink has come.

    Attributes:
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
        """waiting, failing, fed, or new."""
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


def active(connection: psycopg.Connection, scope: Scope) -> SinksVersion:
    """Returns the version that is in use."""
    row = connection.execute(_ACTIVE, [scope.tenant.slug, scope.system]).fetchone()
    return SinksVersion() if row is None else _version(row)


def versions(connection: psycopg.Connection, scope: Scope) -> list[SinksVersion]:
    """Returns every saved version, newest first."""
    rows = connection.execute(_VERSIONS, [scope.tenant.slug, scope.system])
    return [_version(row) for row in rows]


def states(connection: psycopg.Connection, scope: Scope) -> dict[str, SinkState]:
    """Returns the state of each active sink, by name."""
    rows = connection.cursor(row_factory=class_row(SinkState)).execute(
        _STATES, [scope.tenant.slug, scope.system]
    )
    return {row.sink: row for row in rows}


def sink_of(connection: psycopg.Connection, scope: Scope, name: str) -> Sink:
    """Returns an active sink.

    Raises:
        BadInput: there is none of this name.
    """
    sinks = active(connection, scope).sinks
    if name not in sinks:
        known = ", ".join(sinks) or "none; `sinks set` saves some"
        raise BadInput(f"{scope.tenant} has no sink {name!r} of {scope.system}; it has {known}.")
    return sinks[name]


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


def save(
    warehouse: Warehouse,
    scope: Scope,
    text: Any,
    *,
    who: str,
    based_on: int | None = None,
    is_adding_columns: bool = False,
) -> SinksVersion:
    """Saves sinks as the active version; the next build feeds them.

    A sink with `match_by` waits, when it is new, until its matches are confirmed.

    Args:
        warehouse: where the app's tables are.
        scope: whose sinks, of which CRM.
        text: the declarations as decoded JSON.
        who: the author, for the version and the audit log.
        based_on: the version that the author edited; None skips the check for later versions.
        is_adding_columns: add the columns for link and time where a table lacks them.

    Raises:
        BadSink: a declaration cannot be used; nothing was saved.
        SinkRightsMissing: the owner of a table must grant rights; nothing was saved.
        SinksOutdated: the active version is not ``based_on``.
    """
    with sink_transaction(warehouse, scope) as connection:
        connection.execute(
            "select from integration.tenants where slug = %s for no key update",
            [scope.tenant.slug],
        )
        before = active(connection, scope)
        if based_on is not None and based_on != before.number:
            raise SinksOutdated(
                f"{scope.tenant}: version {before.number} of the sinks is active, not {based_on}; "
                "look at it and save again."
            )
        if is_adding_columns:
            add_columns(connection, scope, text)
        sinks = prepared(connection, scope, text, before)
        connection.execute(_RETIRE, [scope.tenant.slug, scope.system])
        written = Jsonb({name: sink.written() for name, sink in sinks.items()})
        row = connection.execute(
            _INSERT,
            {"tenant": scope.tenant.slug, "system": scope.system, "sinks": written, "who": who},
        ).fetchone()
        if row is None:
            raise LookupError("an insert with `returning` returns its row")
        connection.execute(
            _AUDIT, [who, scope.tenant.slug, f"version {row[0]}", Jsonb(before.written()), written]
        )
    return SinksVersion(row[0], sinks, row[1], who)


def prepared(
    connection: psycopg.Connection,
    scope: Scope,
    text: Any,
    before: SinksVersion,
    *,
    is_trial: bool = False,
) -> dict[str, Sink]:
    """Returns the sinks of decoded JSON, with state, role and functions in place for each.

    A trial, which is rolled back, leaves it open how rows of the app are recognized.

    Raises:
        BadSink, SinkRightsMissing: as `save`.
    """
    sinks = validated(connection, scope, text)
    known = states(connection, scope)
    for sink in sinks.values():
        is_new = sink.name not in known or before.sinks[sink.name].table != sink.table
        connection.execute(
            _STATE,
            {
                "tenant": scope.tenant.slug,
                "system": scope.system,
                "sink": sink.name,
                "table": sink.table_name,
                "mart": sink.mart,
                "is_waiting": bool(sink.match_by) if is_new else None,
            },
        )
        table = require_table(connection, scope, sink)
        writer = ensure_writer(connection, scope, sink, table)
        if is_new and sink.inserts and sink.match_by is None and not is_trial:
            query = sql.SQL("select from {} () limit 1").format(writer.read)
            if connection.execute(query).rowcount:
                issue = (
                    "the table has rows already: give match_by the rules by which they are "
                    "recognized, or [] if none of them is in the CRM"
                )
                raise BadSink(scope.tenant, [Issue(f"{sink.name}.match_by", issue)])
    gone = connection.execute(
        _DEACTIVATE, [scope.tenant.slug, scope.system, list(sinks)]
    ).fetchall()
    for (number,) in gone:
        drop_writer(connection, number)
    return sinks


def column_statements(table: AppTable, sink: Sink) -> list[sql.Composed]:
    """Returns the statements that add the columns for link and time that a table lacks."""
    of = sql.Identifier(table.schema, table.name)
    missing = missing_columns(sink, table)
    statements = [
        sql.SQL("alter table {} add column {} {};").format(
            of,
            sql.Identifier(name),
            sql.SQL(kind),
        )
        for name, kind in missing.items()
    ]
    if sink.link_column in missing:
        indexed = [sink.tenant_column, sink.link_column]
        statements.append(
            sql.SQL("create index on {} ({});").format(
                of, sql.SQL(", ").join(sql.Identifier(name) for name in indexed if name)
            )
        )
    return statements


def add_columns(connection: psycopg.Connection, scope: Scope, text: Any) -> None:
    """Adds the columns for link and time to the tables that lack them.

    Raises:
        SinkRightsMissing: the table is not ours to alter.
    """
    for sink in parsed(text)[0].values():
        table = app_table(connection, sink.table)
        statements = column_statements(table, sink) if table else []
        try:
            with connection.transaction():
                for statement in statements:
                    connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            texts = [statement.as_string(connection) for statement in statements]
            raise SinkRightsMissing(
                scope.tenant, sink.name, texts, "the table is not ours to alter"
            ) from None


def _version(row: tuple[Any, ...]) -> SinksVersion:
    number, written, saved_at, saved_by = row
    return SinksVersion(number, in_order(parsed(written)[0]), saved_at, saved_by)


_ACTIVE = """
select sinks.version, sinks.sinks, sinks.created_at, sinks.created_by
from integration.sinks
where sinks.tenant_id = %s
    and sinks.system = %s
    and sinks.is_active
"""
_VERSIONS = """
select sinks.version, sinks.sinks, sinks.created_at, sinks.created_by
from integration.sinks
where sinks.tenant_id = %s
    and sinks.system = %s
order by sinks.version desc
"""
_STATES = """
select
    sink_states.sink,
    sink_states.mart,
    sink_states.app_table,
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
_STATE = """
insert into integration.sink_states as known
    (tenant_id, system, sink, app_table, mart, is_waiting)
values (
    %(tenant)s, %(system)s, %(sink)s, %(table)s, %(mart)s,
    coalesce(%(is_waiting)s::boolean, false)
)
on conflict (tenant_id, system, sink) do update
set app_table = excluded.app_table,
    mart = excluded.mart,
    is_active = true,
    is_waiting = coalesce(%(is_waiting)s, known.is_waiting),
    cursor_at = null,
    cursor_id = null
"""
_DEACTIVATE = """
update integration.sink_states
set is_active = false, fault = null, fault_since = null
where sink_states.tenant_id = %s
    and sink_states.system = %s
    and sink_states.is_active
    and sink_states.sink <> all (%s)
returning sink_states.id
"""
_RETIRE = """
update integration.sinks
set is_active = false
where sinks.tenant_id = %s
    and sinks.system = %s
    and sinks.is_active
"""
_INSERT = """
insert into integration.sinks (tenant_id, system, version, sinks, is_active, created_by)
select
    %(tenant)s,
    %(system)s,
    coalesce(max(sinks.version), 0) + 1,
    %(sinks)s,
    true,
    %(who)s
from integration.sinks
where sinks.tenant_id = %(tenant)s
    and sinks.system = %(system)s
returning version, created_at
"""
_AUDIT = """
insert into integration.audit_log (who, tenant_id, action, subject, before, after)
values (%s, %s, 'sinks.save', %s, %s, %s)
"""
