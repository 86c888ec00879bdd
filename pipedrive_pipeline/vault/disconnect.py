"""Ends a connection: by a person here, or by an uninstall at the source. Synced rows stay.

The grant is revoked, tokens and queued sync requests are deleted. A run of the tenant that is still
alive ends at its next transaction.
Sources: RFC 7009 and https://pipedrive.readme.io/docs/app-uninstallation (read 2026-11).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import psycopg

from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connection_rows, states
from pipedrive_pipeline.vault.connection_rows import ConnectionRow
from pipedrive_pipeline.vault.errors import SecretUnreadable, WrongKey
from pipedrive_pipeline.vault.states import ConnectionState, Reason
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse import fences

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Disconnected:
    """The result of a disconnect."""

    scope: Scope
    is_revoked: bool  # the source confirmed the revocation
    note: str  # for the user: why it was not revoked, or the next step; may be empty


def disconnect(vault: Vault, scope: Scope, *, who: str) -> Disconnected:
    """Ends the connection: revokes the grant at the source if possible, deletes the tokens here.

    If the source cannot be reached, the connection ends all the same and the note gives the next
    step. A second call changes nothing.

    Raises:
        NotConnected: the tenant never started to connect.
        WrongKey: the operator must put the key back first; nothing was changed.
    """
    with vault.warehouse.transaction() as transaction:
        row = connection_rows.locked(transaction, scope)
        if row.state is ConnectionState.DISCONNECTED:
            return Disconnected(scope, is_revoked=False, note="It was disconnected before.")
        # First: no run may write after the revocation.
        fences.end_all(transaction, scope.tenant.slug)
        refusal = _revoked(vault, transaction, row)
        _end(transaction, row, Reason.DISCONNECTED, who)
    return Disconnected(scope, is_revoked=not refusal, note=refusal)


def disconnect_uninstalled(
    vault: Vault, system: str, *, client_id: str, company_id: str, user_id: str | None
) -> list[Tenant]:
    """Ends the connections that an uninstall notice names, and returns their tenants; may be empty.

    Args:
        vault: the vault.
        system: the sender of the notice.
        client_id: the OAuth app that was removed; tenants of another app are not touched.
        company_id: the company whose account the app was removed from.
        user_id: the user who uninstalled it; others of the company stay connected. None ends all.
    """
    with vault.warehouse.transaction() as transaction:
        rows = transaction.execute(
            """
            select connections.tenant_id
            from integration.connections as connections
            where connections.system = %(system)s
                and connections.kind = 'oauth'
                and connections.company_id = %(company)s
                and (
                    %(user)s::text is null
                    or connections.account_user_id is null
                    or connections.account_user_id = %(user)s
                )
                and connections.state in ('connected', 'needs_reauth')
            order by connections.tenant_id asc
            """,
            {"system": system, "company": company_id, "user": user_id},
        ).fetchall()
        tenants = [Tenant(slug) for (slug,) in rows]
        tenants = [
            tenant
            for tenant in tenants
            if vault.settings.system(system, tenant.slug).client_id == client_id
        ]
        for tenant in tenants:
            row = connection_rows.locked(transaction, Scope(tenant, system))
            if row.state in {ConnectionState.CONNECTED, ConnectionState.NEEDS_REAUTH}:
                fences.end_all(transaction, tenant.slug)
                _end(transaction, row, Reason.UNINSTALLED, who=system)
    return tenants


def _revoked(vault: Vault, transaction: psycopg.Connection, row: ConnectionRow) -> str:
    """Revokes the grant; returns the reason if that was not possible, else an empty string."""
    if row.kind == "api_token":
        return "An API token cannot be revoked from here; renew it in the account's settings."
    if row.refresh_token is None:
        return "There was no grant to revoke."
    if _is_shared(transaction, row):
        # Grants are per user and app: revoking one would end the other's as well.
        return "Another tenant is connected by the same user; its consent was left standing."
    try:
        vault.oauth_app(row.scope).revoke(connection_rows.token(vault.cipher, row, "refresh_token"))
    except WrongKey:
        raise
    except (PipelineError, SecretUnreadable) as error:
        log.warning("%s: not revoked (%s)", row.scope, error.code)
        return "The source could not be told; uninstall the app in the account's settings."
    return ""


def _is_shared(transaction: psycopg.Connection, row: ConnectionRow) -> bool:
    other = transaction.execute(
        """
        select true
        from integration.connections as connections
        where connections.system = %s
            and connections.kind = 'oauth'
            and connections.company_id = %s
            and connections.account_user_id = %s
            and connections.state = 'connected'
            and connections.id <> %s
        limit 1
        """,
        (row.scope.system, row.company_id, row.account_user_id, row.id),
    ).fetchone()
    return other is not None


def _end(transaction: psycopg.Connection, row: ConnectionRow, reason: Reason, who: str) -> None:
    states.change(transaction, row.scope, ConnectionState.DISCONNECTED, reason=reason, who=who)
    for statement in (
        "delete from integration.pending_grants where tenant_id = %s and system = %s",
        "delete from integration.oauth_states where tenant_id = %s and system = %s",
        "delete from integration.connect_links where tenant_id = %s and system = %s",
        "delete from integration.webhooks where tenant_id = %s and system = %s",
        """
        update integration.sync_requests
        set state = 'failed', settled_at = now()
        where tenant_id = %s and system = %s and state = 'queued'
        """,
    ):
        transaction.execute(statement, (row.scope.tenant.slug, row.scope.system))
