"""The functions through which a sink's table is written and read, and the role that owns them.

The role may use the columns of one table and nothing else, and no login is a member of it but ours:
so a trigger, a policy or a default of the app runs with these rights and never with the engine's
(`app_access.py` has how they are called).
Role, rights and functions are made again where they are not as the declaration and the catalogue
want them: after a change of the app's table, in a copied database, after a restore.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import errors, sql

from pipedrive_pipeline.errors import PersonMustAct
from pipedrive_pipeline.marts.sinks.app_table import AppTable, has_policy_for
from pipedrive_pipeline.marts.sinks.form import Sink
from pipedrive_pipeline.marts.sinks.function_text import (
    function_definition,
    identifiers,
    inserted_columns,
    schema_of,
)
from pipedrive_pipeline.marts.sinks.match_rules import rule_columns
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.roles import drop_role, lock_rights

SCHEMA: Final = "pipeline_sinks"


class SinkRightsMissing(PersonMustAct):
    """The owner of an app's table must grant rights to a sink's role; nothing was written."""

    code = "sink_rights"
    who_acts = "the owner of the app's table"

    def __init__(self, tenant: Tenant, sink: str, statements: Sequence[str], why: str) -> None:
        self.tenant, self.sink, self.statements = tenant, sink, tuple(statements)
        super().__init__(
            f"{tenant}: the sink {sink} lacks rights: {why}. The owner of the table runs: "
            f"{' '.join(statements)}"
        )


@dataclass(frozen=True)
class SinkWriter:
    """The functions of one sink that are in place, and their role."""

    number: int
    role: str

    @property
    def write(self) -> sql.Identifier:
        """The function that writes rows."""
        return sql.Identifier(SCHEMA, f"write_{self.number}")

    @property
    def read(self) -> sql.Identifier:
        """The function that reads rows."""
        return sql.Identifier(SCHEMA, f"read_{self.number}")

    @property
    def written(self) -> sql.Identifier:
        """The view that calls `write` with the rows of a setting."""
        return sql.Identifier(SCHEMA, f"written_{self.number}")

    @property
    def rows(self) -> sql.Identifier:
        """The view that calls `read`."""
        return sql.Identifier(SCHEMA, f"rows_{self.number}")


def ensure_writer(
    connection: psycopg.Connection, scope: Scope, sink: Sink, table: AppTable
) -> SinkWriter:
    """Returns the sink's writer, made or renewed where it is not as it has to be.

    Raises:
        SinkRightsMissing: the owner of the table, or of the server, must act.
    """
    writer, installed = _writer(connection, scope, sink)
    texts = [
        function_definition("write", writer.write, sink, table).as_string(connection),
        function_definition("read", writer.read, sink, table).as_string(connection),
        sql.SQL(_WRITTEN).format(view=writer.written, write=writer.write).as_string(connection),
        sql.SQL(_ROWS).format(view=writer.rows, read=writer.read).as_string(connection),
    ]
    statements = [grant.as_string(connection) for grant in _grants(sink, table, writer.role)]
    wanted = hashlib.sha256("\n".join([writer.role, *texts, *statements]).encode()).hexdigest()
    if (
        installed == wanted
        and _is_owned(connection, writer)
        and not _missing_right(connection, sink, table, writer.role)
    ):
        return writer
    lock_rights(connection)
    make_role(connection, scope, sink)
    _grant(connection, scope.tenant, sink, table, writer.role)
    _make_functions(connection, writer, texts)
    connection.execute(
        "update integration.sink_states set installed = %s where id = %s", [wanted, writer.number]
    )
    return writer


def make_role(connection: psycopg.Connection, scope: Scope, sink: Sink) -> None:
    """Makes the sink's role if it does not exist, and our login a member of it.

    Raises:
        SinkRightsMissing: an administrator of the server must make it.
    """
    writer, _ = _writer(connection, scope, sink)
    try:
        with connection.transaction():
            connection.execute("select integration.ensure_role(%s)", [f"sink_{writer.number}"])
            row = connection.execute(
                "select pg_has_role(current_user, %s, 'usage')", [writer.role]
            ).fetchone()
            if not (row and row[0]):
                connection.execute(
                    sql.SQL("grant {} to current_user").format(sql.Identifier(writer.role))
                )
    except errors.InsufficientPrivilege:
        login = connection.info.user
        raise SinkRightsMissing(
            scope.tenant,
            sink.name,
            [f'create role "{writer.role}" nologin;', f'grant "{writer.role}" to "{login}";'],
            "our login may not create its role",
        ) from None


def drop_writer(connection: psycopg.Connection, number: int) -> None:
    """Drops a sink's functions and its role with all rights; the app's table stays as it is."""
    drop_role(connection, _drop_functions(connection, number), is_with_rights=True)
    connection.execute(
        "update integration.sink_states set installed = null where id = %s", [number]
    )


def _drop_functions(connection: psycopg.Connection, number: int) -> str:
    """Drops a sink's functions and the views that call them; returns the role that owned them."""
    for name in (f"write_{number} (jsonb)", f"read_{number} ()"):
        connection.execute(
            sql.SQL("drop function if exists {}.{} cascade").format(
                sql.Identifier(SCHEMA), sql.SQL(name)
            )
        )
    row = connection.execute("select integration.role_name(%s)", [f"sink_{number}"]).fetchone()
    assert row is not None  # noqa: S101 - it has no `from`
    return str(row[0])


def drop_functions(connection: psycopg.Connection, tenant: Tenant) -> list[str]:
    """Drops the functions of all sinks of a tenant; returns their roles, which nothing needs then.

    The apps' tables stay as they are.
    """
    rows = connection.execute(
        "select id from integration.sink_states where tenant_id = %s", [tenant.slug]
    ).fetchall()
    return [_drop_functions(connection, number) for (number,) in rows]


def _writer(
    connection: psycopg.Connection, scope: Scope, sink: Sink
) -> tuple[SinkWriter, str | None]:
    """Returns the sink's writer by its names, and a hash of what was made for it; None: nothing."""
    row = connection.execute(_STATE, [scope.tenant.slug, scope.system, sink.name]).fetchone()
    if row is None:
        raise LookupError("a sink has its row before its functions are made")
    number, role, installed = row
    return SinkWriter(number, role), installed


def _is_owned(connection: psycopg.Connection, writer: SinkWriter) -> bool:
    """True if functions and views exist and belong to the role."""
    values = {"schema": SCHEMA, "number": str(writer.number), "role": writer.role}
    row = connection.execute(_OWNED, values).fetchone()
    return bool(row and row[0] == 4)


def _grants(sink: Sink, table: AppTable, role: str) -> list[sql.Composed]:
    """Returns the statements that give the role its rights, all of them and no others."""
    to, of = sql.Identifier(role), sql.Identifier(table.schema, table.name)
    key = sink.key or table.keys[0]
    tenant = (sink.tenant_column,) if sink.tenant_column else ()
    rules = [name for rule in sink.match_by or () for name in rule_columns(sink, rule)]
    written = [name for name in sink.written_columns if name not in key]
    inserted = [*inserted_columns(sink), *tenant] if sink.inserts or sink.reinserts else []
    read = dict.fromkeys((*key, *tenant, *rules, *sink.written_columns))
    statements = [sql.SQL("grant usage on schema {} to {};").format(schema_of(table), to)]
    for right, names in (("select", read), ("update", written), ("insert", inserted)):
        if names:
            statements.append(
                sql.SQL("grant {} ({}) on {} to {};").format(
                    sql.SQL(right), identifiers(names), of, to
                )
            )
    statements += [
        sql.SQL("grant usage on sequence {} to {};").format(sql.SQL(column.sequence), to)
        for column in table.columns.values()
        if column.sequence and not column.is_computed and inserted
    ]
    return statements


def _grant(
    connection: psycopg.Connection, tenant: Tenant, sink: Sink, table: AppTable, role: str
) -> None:
    """Gives the role its rights where we may; else the owner must have given them."""
    grants = _grants(sink, table, role)
    statements = [grant.as_string(connection) for grant in grants]
    try:
        if table.is_grantable:
            connection.execute(
                sql.SQL("revoke all on {} from {}").format(
                    sql.Identifier(table.schema, table.name), sql.Identifier(role)
                )
            )
        for grant in grants:
            with connection.transaction():
                connection.execute(grant)
    except errors.InsufficientPrivilege:
        pass  # the owner may have granted them; that is looked at below
    if missing := _missing_right(connection, sink, table, role):
        raise SinkRightsMissing(tenant, sink.name, statements, missing)
    if table.has_policies and not has_policy_for(connection, (table.schema, table.name), role):
        policy = sql.SQL("create policy {} on {} to {} using (true) with check (true);").format(
            sql.Identifier("pipeline_sink"),
            sql.Identifier(table.schema, table.name),
            sql.Identifier(role),
        )
        raise SinkRightsMissing(
            tenant,
            sink.name,
            [policy.as_string(connection)],
            "row level security is on, and no policy applies to its role (narrow this one down)",
        )


def _missing_right(
    connection: psycopg.Connection, sink: Sink, table: AppTable, role: str
) -> str | None:
    """Returns the first right that the role lacks; None if it has all."""
    key = sink.key or table.keys[0]
    rights = [(name, "select") for name in (*key, *sink.written_columns)]
    rights += [(name, "update") for name in sink.written_columns if name not in key]
    rights += [(name, "insert") for name in inserted_columns(sink) if sink.inserts]
    columns, names = zip(*rights, strict=True)
    relation = sql.Identifier(table.schema, table.name).as_string(connection)
    values = {
        "role": role,
        "schema": table.schema,
        "table": relation,
        "columns": list(columns),
        "rights": list(names),
    }
    row = connection.execute(_MISSING, values).fetchone()
    return row[0] if row else None


def _make_functions(
    connection: psycopg.Connection, writer: SinkWriter, texts: Sequence[str]
) -> None:
    schema, role = sql.Identifier(SCHEMA), sql.Identifier(writer.role)
    write = sql.SQL("function {} (jsonb)").format(writer.write)
    read = sql.SQL("function {} ()").format(writer.read)
    made = (
        (write, texts[0], "Writes rows of a sink's table; see marts/sinks."),
        (read, texts[1], "Reads rows of a sink's table; see marts/sinks."),
        (_view(writer.written), texts[2], "Calls the function that writes; empty between writes."),
        (_view(writer.rows), texts[3], "Calls the function that reads; empty between reads."),
    )
    _drop_functions(connection, writer.number)
    # The owner of a function must be able to create in its schema, at that moment only.
    connection.execute(sql.SQL("grant create on schema {} to {}").format(schema, role))
    for object_, text, comment in made:
        connection.execute(sql.SQL(text))
        connection.execute(sql.SQL("comment on {} is {}").format(object_, sql.Literal(comment)))
        connection.execute(sql.SQL("alter {} owner to {}").format(object_, role))
    for function in (write, read):
        connection.execute(sql.SQL("revoke all on {} from public").format(function))
    connection.execute(sql.SQL("revoke create on schema {} from {}").format(schema, role))


def _view(name: sql.Identifier) -> sql.Composed:
    return sql.SQL("materialized view {}").format(name)


_WRITTEN: Final = """
create materialized view {view} as
select result.*
from {write} (current_setting('pipeline.sink_rows')::jsonb) as result
with no data
"""
_ROWS: Final = """
create materialized view {view} as
select app.app_key, app.shown
from {read} () as app
with no data
"""
_STATE: Final = """
select
    sink_states.id,
    integration.role_name('sink_' || sink_states.id),
    sink_states.installed
from integration.sink_states
where sink_states.tenant_id = %s
    and sink_states.system = %s
    and sink_states.sink = %s
"""
_OWNED: Final = """
select count(*)
from (
    select pg_proc.proname as name, pg_proc.pronamespace as namespace, pg_proc.proowner as owner
    from pg_catalog.pg_proc
    union all
    select pg_class.relname, pg_class.relnamespace, pg_class.relowner
    from pg_catalog.pg_class
    where pg_class.relkind = 'm'
) as made
where made.namespace = to_regnamespace(%(schema)s)
    and made.name = any (
        array['write_' || %(number)s, 'read_' || %(number)s, 'written_' || %(number)s,
            'rows_' || %(number)s]
    )
    and pg_get_userbyid(made.owner) = %(role)s
"""
# A column that was dropped and added again has lost its rights.
_MISSING: Final = """
select lacking.what
from (
    select 'no usage of the schema ' || %(schema)s::text as what
    where not has_schema_privilege(%(role)s, %(schema)s, 'usage')
    union all
    select format('no %%s of %%s.%%s', needed.name, %(table)s::text, needed.column_name)
    from unnest(%(columns)s::text[], %(rights)s::text[]) as needed (column_name, name)
    where not has_column_privilege(%(role)s, %(table)s, needed.column_name, needed.name)
) as lacking
limit 1
"""
