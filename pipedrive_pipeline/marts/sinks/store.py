"""Reads and saves the versions of a tenant's sinks.

Exactly one version is active. Saving checks it against the catalogue and makes roles and functions
in the same transaction, so that an active version can be run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from pipedrive_pipeline.errors import BadInput, PersonMustAct
from pipedrive_pipeline.marts.mapping.form import Issue
from pipedrive_pipeline.marts.sinks.app_access import rows_read
from pipedrive_pipeline.marts.sinks.app_table import AppTable, app_table
from pipedrive_pipeline.marts.sinks.form import BadSink, Sink
from pipedrive_pipeline.marts.sinks.parsing import parsed
from pipedrive_pipeline.marts.sinks.states import (
    require_table,
    sink_transaction,
    state_key,
    states,
)
from pipedrive_pipeline.marts.sinks.validation import (
    in_order,
    is_only_paused,
    missing_columns,
    validated,
)
from pipedrive_pipeline.marts.sinks.writer import (
    SinkRightsMissing,
    drop_writer,
    ensure_writer,
    make_role,
)
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

T = TypeVar("T")


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


def active(connection: psycopg.Connection, scope: Scope) -> SinksVersion:
    """Returns the version that is in use."""
    row = connection.execute(_ACTIVE, [scope.tenant.slug, scope.system]).fetchone()
    return SinksVersion() if row is None else _version(row)


def versions(connection: psycopg.Connection, scope: Scope) -> list[SinksVersion]:
    """Returns every saved version, newest first."""
    rows = connection.execute(_VERSIONS, [scope.tenant.slug, scope.system])
    return [_version(row) for row in rows]


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
        SinkRightsMissing: the owner of a table must grant rights; nothing was saved but the roles
            that the message names.
        SinksOutdated: the active version is not ``based_on``.
    """

    def change() -> SinksVersion:
        with sink_transaction(warehouse, scope) as connection:
            connection.execute(_LOCK_TENANT, [scope.tenant.slug])
            if is_adding_columns:
                add_columns(connection, scope, text)
            return _saved(connection, scope, text, based_on, who)

    return with_roles(warehouse, scope, text, change)


def with_roles(warehouse: Warehouse, scope: Scope, text: Any, work: Callable[[], T]) -> T:
    """Returns what the work on these sinks returns.

    Work that lacks rights is rolled back, and with it the roles that the owner of a table should
    give them to. They are made by themselves then, and the work is done again.

    Raises:
        SinkRightsMissing: the rights are still missing; the roles that the message names are kept.
    """
    try:
        return work()
    except SinkRightsMissing:
        keep_roles(warehouse, scope, parsed(text)[0].values())
        return work()


def keep_roles(warehouse: Warehouse, scope: Scope, sinks: Iterable[Sink]) -> None:
    """Makes the roles of these sinks, also of those that cannot be saved yet.

    Rights can only be granted to a role that exists, and whose number stays the same.
    """
    for sink in sinks:
        with sink_transaction(warehouse, scope) as connection:
            key = state_key(scope, sink) | {"table": sink.table_name, "mart": sink.mart}
            connection.execute(_RESERVE, key)
        with suppress(SinkRightsMissing), sink_transaction(warehouse, scope) as connection:
            make_role(connection, scope, sink)


def _saved(
    connection: psycopg.Connection, scope: Scope, text: Any, based_on: int | None, who: str
) -> SinksVersion:
    before = active(connection, scope)
    if based_on is not None and based_on != before.number:
        raise SinksOutdated(
            f"{scope.tenant}: version {before.number} of the sinks is active, not {based_on}; "
            "look at it and save again."
        )
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
    sinks = validated(connection, scope, text, before.sinks)
    known = states(connection, scope)
    for sink in sinks.values():
        is_new = sink.name not in known or before.sinks[sink.name].table != sink.table
        connection.execute(
            _STATE,
            state_key(scope, sink)
            | {
                "table": sink.table_name,
                "mart": sink.mart,
                "is_waiting": bool(sink.match_by) if is_new else None,
                "is_paused": sink.is_paused,
            },
        )
        if is_only_paused(sink, before.sinks):
            continue
        table = require_table(connection, scope, sink)
        writer = ensure_writer(connection, scope, sink, table)
        if is_new and sink.inserts and sink.match_by is None and not is_trial:
            with rows_read(connection, writer) as rows:
                has_rows = connection.execute(
                    sql.SQL("select from {} limit 1").format(rows)
                ).rowcount
            if has_rows:
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


_LOCK_TENANT = "select from integration.tenants where slug = %s for no key update"
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
    fault = case when not %(is_paused)s then known.fault end,
    fault_since = case when not %(is_paused)s then known.fault_since end,
    cursor_at = null,
    cursor_id = null
"""
_RESERVE = """
insert into integration.sink_states (tenant_id, system, sink, app_table, mart, is_active)
values (%(tenant)s, %(system)s, %(sink)s, %(table)s, %(mart)s, false)
on conflict (tenant_id, system, sink) do nothing
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
