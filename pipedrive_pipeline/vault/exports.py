"""Exported tokens: a table that a service reads instead of asking for a credential.

It has one row per tenant with an access token and never a refresh token. The row changes in the
transaction that changes the connection (`exported_rows.py`); a sensor refreshes it long before it
expires. Its policy hides a row that is about to expire: a reader gets a usable token or none.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import psycopg
from psycopg import errors, sql

from pipedrive_pipeline.errors import BadInput, PersonMustAct, PipelineError, UnknownTenant
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connection_rows, exported_rows
from pipedrive_pipeline.vault.exported_rows import Export
from pipedrive_pipeline.vault.lending import borrow, require_lendable
from pipedrive_pipeline.vault.states import ConnectionState
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse import audit_log
from pipedrive_pipeline.warehouse.migrations import require_current
from pipedrive_pipeline.warehouse.roles import lock_rights

VALID_FOR: Final = timedelta(minutes=15)  # refreshed by then, so that a reader has ten minutes more
HIDDEN_MINUTES: Final = 5  # before its end a row is hidden
ROUND_SECONDS: Final = 40.0  # of one round over all exports; the sensor's tick has 60

log = logging.getLogger(__name__)


class ExportRefused(PersonMustAct):
    """The table or the role cannot be used for exported tokens; nothing was changed."""

    code = "export_refused"

    def __init__(self, scope: Scope, reason: str) -> None:
        self.scope = scope
        super().__init__(f"{scope.tenant}: nothing was exported: {reason}")


@dataclass(frozen=True)
class ExportedToken:
    """One export with the row in its table, without the token."""

    scope: Scope
    export: Export
    expires_at: datetime | None  # of the row there; None: there is none
    reason: str | None  # why the last write failed


def default_table(system: str) -> str:
    """The table's name if nobody chose one."""
    return f"lead_{system}_integrations"


def start(vault: Vault, scope: Scope, *, table: str | None, reader: str, who: str) -> Export:
    """Exports the tenant's token from now on; makes the table if it does not exist.

    Args:
        vault: the vault.
        scope: whose connection.
        table: ``schema.name`` or a name in ``public``; None: `default_table`.
        reader: the one role that may read the table, also of the tenants that it has already.
        who: for the audit log.

    Raises:
        BadInput: the tenant's external id is no uuid.
        ExportRefused: the table is not ours, or the role cannot be used.
        NotLendable: the connection has an API token.
        NotConnected, ReauthNeeded, SourceUnavailable: as `lend`.
    """
    lent = borrow(vault, scope)
    require_lendable(scope, lent)
    schema, _, name = (table or default_table(scope.system)).rpartition(".")
    target = (schema or "public", name)
    with vault.warehouse.transaction(scope.tenant) as transaction:
        export = Export(target, _external_id(transaction, scope.tenant), is_ending=False)
        former = exported_rows.export_of(transaction, scope)
        if former and (former.table, former.external_id) != (target, export.external_id):
            exported_rows.end(transaction, scope)
        try:
            _make_table(transaction, scope, export, reader)
            transaction.execute(_START, [*_keys(scope), *target, export.external_id, who])
        except errors.UniqueViolation:
            raise ExportRefused(
                scope, f"{'.'.join(target)} has this tenant's row of another system; name another."
            ) from None
        except errors.InsufficientPrivilege as error:
            reason = f"Postgres refuses it ({error.diag.message_primary})."
            raise ExportRefused(scope, reason) from None
        facts = {"table": ".".join(target), "reader": reader}
        audit_log.note(
            transaction,
            scope.tenant,
            who=who,
            action="tokens.export",
            subject=scope.system,
            after=facts,
        )
    refresh_export(vault, scope)
    return export


def stop(vault: Vault, scope: Scope, *, who: str) -> bool:
    """Ends the export and removes the row; False if there was none."""
    with vault.warehouse.transaction(scope.tenant) as transaction:
        if exported_rows.export_of(transaction, scope) is None:
            return False
        exported_rows.end(transaction, scope)
        audit_log.note(
            transaction, scope.tenant, who=who, action="tokens.export_end", subject=scope.system
        )
    return True


def refresh_export(vault: Vault, scope: Scope) -> None:
    """Brings one row up to date, with a token that is valid for a quarter of an hour at least.

    Raises:
        PipelineError: as `lend`; the row stays as it is, or is gone if the connection is.
    """
    lent = borrow(vault, scope, valid_for=VALID_FOR)
    with vault.warehouse.transaction(scope.tenant) as transaction:
        row = connection_rows.locked(transaction, scope)
        if row.state is ConnectionState.CONNECTED and row.generation == lent.generation:
            exported_rows.write(
                transaction,
                scope,
                lent.secret,
                expires_at=lent.expires_at,
                api_domain=lent.base_url,
            )


def keep_fresh(vault: Vault) -> dict[Scope, str]:
    """Brings every row up to date that needs it, the first to expire first.

    Returns:
        The reason for each row that could not be; the next round tries again.

    Raises:
        SchemaBehind: the database is a copy that is not migrated yet, or another release's: a copy
            that refreshed the tokens of the original would end its grants.
    """
    require_current(vault.warehouse)
    failed: dict[Scope, str] = {}
    until = time.monotonic() + ROUND_SECONDS
    for token in sorted(
        listed(vault), key=lambda token: token.expires_at.timestamp() if token.expires_at else 0.0
    ):
        if time.monotonic() > until:
            break
        try:
            _keep(vault, token)
        except PipelineError as error:
            failed[token.scope] = str(error)
            log.warning("%s: the exported token is not fresh: %s", token.scope, error.code)
    return failed


def _keep(vault: Vault, token: ExportedToken) -> None:
    with vault.warehouse.transaction(token.scope.tenant) as transaction:
        if token.export.is_ending:
            exported_rows.end(transaction, token.scope)
            return
        row = connection_rows.reread(transaction, token.scope)
        if row.state is not ConnectionState.CONNECTED:
            exported_rows.remove(transaction, token.scope)
            return
        is_due = not row.is_fresh_for(VALID_FOR) or token.expires_at != row.token_expires_at
    if is_due:
        refresh_export(vault, token.scope)


def listed(vault: Vault, tenant: Tenant | None = None) -> list[ExportedToken]:
    """The exports of one tenant or of all, with what their tables have."""
    with vault.warehouse.transaction() as transaction:
        rows = transaction.execute(_LISTED, [tenant and tenant.slug] * 2).fetchall()
        tokens = []
        for slug, system, schema, name, external_id, is_ending, reason, is_there in rows:
            export = Export((schema, name), external_id, is_ending)
            expires_at = _expires_at(transaction, export) if is_there else None
            tokens.append(ExportedToken(Scope(Tenant(slug), system), export, expires_at, reason))
    return tokens


def _expires_at(transaction: psycopg.Connection, export: Export) -> datetime | None:
    query = sql.SQL("select expires_at from {} where tenant_id = %s").format(export.identifier)
    row = transaction.execute(query, [export.external_id]).fetchone()
    return row[0] if row else None


def _keys(scope: Scope) -> Sequence[str]:
    return scope.tenant.slug, scope.system


def _external_id(transaction: psycopg.Connection, tenant: Tenant) -> UUID:
    query = "select external_id from integration.tenants where slug = %s"
    row = transaction.execute(query, [tenant.slug]).fetchone()
    if row is None:
        raise UnknownTenant(tenant.slug)
    try:
        return UUID(row[0] or "")
    except ValueError:
        raise BadInput(
            f"{tenant}: its external id {row[0]!r} is no uuid, and the table's tenant_id is one; "
            f"`tenants change {tenant} --external-id UUID` gives it the app's id of the tenant."
        ) from None


def _make_table(transaction: psycopg.Connection, scope: Scope, export: Export, reader: str) -> None:
    """Makes the table if it does not exist, and makes ``reader`` the only role that reads it.

    Raises:
        ExportRefused: the table is not ours, or the role cannot be used.
    """
    _require_reader(transaction, scope, reader)
    comment = f"Access tokens of tenants, for {{}}; written by tokens export of {scope.system}."
    row = transaction.execute(
        "select obj_description(to_regclass(%s), 'pg_class'), to_regclass(%s) is not null",
        [export.identifier.as_string(transaction)] * 2,
    ).fetchone()
    former, is_there = row or (None, False)
    if is_there and not (former or "").endswith(comment.partition("{}")[2]):
        raise ExportRefused(
            scope,
            f"{'.'.join(export.table)} exists and was not made by `tokens export` of "
            f"{scope.system}. Rename it, or name another by --table.",
        )
    lock_rights(transaction)
    for statement in _TABLE:
        transaction.execute(
            sql.SQL(statement).format(
                table=export.identifier,
                policy=sql.Identifier("reader"),
                reader=sql.Identifier(reader),
                schema=sql.Identifier(export.table[0]),
                minutes=sql.Literal(HIDDEN_MINUTES),
                comment=sql.Literal(comment.format(reader)),
                engine=sql.Identifier(_role(transaction, "engine")),
            )
        )
    for (grantee,) in transaction.execute(
        _GRANTEES, [export.identifier.as_string(transaction), reader]
    ).fetchall():
        # Of a former reader, or of the database's default privileges.
        transaction.execute(
            sql.SQL("revoke all on {} from {}").format(
                export.identifier, sql.Identifier(grantee) if grantee else sql.SQL("public")
            )
        )


def _require_reader(transaction: psycopg.Connection, scope: Scope, reader: str) -> None:
    row = transaction.execute(
        "select integration.role_kind(rolname) <> rolname from pg_catalog.pg_roles"
        " where rolname = %s",
        [reader],
    ).fetchone()
    if row is None:
        raise ExportRefused(
            scope, f"there is no role {reader!r}; `create role` makes one, with a password."
        )
    if row[0]:
        raise ExportRefused(
            scope,
            f"{reader} is a role of this installation, whose members must not see tokens; make one "
            "for the service alone.",
        )


def _role(transaction: psycopg.Connection, kind: str) -> str:
    row = transaction.execute("select integration.role_name(%s)", [kind]).fetchone()
    assert row is not None  # noqa: S101 - a select without from has one row
    return str(row[0])


_TABLE: Final = (
    """
    create table if not exists {table} (
        tenant_id uuid not null,
        access_token text not null,
        refresh_token text,
        expires_at timestamptz not null,
        api_domain text not null,
        constraint has_no_refresh_token check (refresh_token is null),
        primary key (tenant_id)
    )
    """,
    "comment on table {table} is {comment}",
    "alter table {table} enable row level security",
    "drop policy if exists {policy} on {table}",
    """
    create policy {policy} on {table} for select to {reader}
    using (expires_at > now() + make_interval(mins => {minutes}))
    """,
    "drop policy if exists engine on {table}",
    "create policy engine on {table} to {engine} using (true) with check (true)",
    "grant select, insert, update, delete on {table} to {engine}",
    "grant usage on schema {schema} to {reader}",
    "grant select on {table} to {reader}",
)
_GRANTEES: Final = """
select distinct roles.rolname
from pg_catalog.pg_class
cross join lateral aclexplode(pg_class.relacl) as entry
left join pg_catalog.pg_roles as roles on roles.oid = entry.grantee
where pg_class.oid = to_regclass(%s)
    and entry.grantee <> pg_class.relowner
    and roles.rolname is distinct from %s
    and roles.rolname is distinct from integration.role_name('engine')
"""
_START: Final = """
insert into integration.token_exports (
    tenant_id, system, table_schema, table_name, external_id, started_by
)
values (%s, %s, %s, %s, %s, %s)
on conflict (tenant_id, system) do update
set is_ending = false
"""
_LISTED: Final = """
select
    token_exports.tenant_id,
    token_exports.system,
    token_exports.table_schema,
    token_exports.table_name,
    token_exports.external_id,
    token_exports.is_ending,
    token_exports.reason,
    to_regclass(format('%%I.%%I', token_exports.table_schema, token_exports.table_name)) is not null
from integration.token_exports
where %s::text is null
    or token_exports.tenant_id = %s
order by
    token_exports.tenant_id asc,
    token_exports.system asc
"""
