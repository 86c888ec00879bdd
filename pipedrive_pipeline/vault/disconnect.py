"""A connection ends: on purpose here, or by an uninstall at the source. The synced rows stay.

Belongs here: revoking, forgetting the tokens, settling what was still asked for.
Does not belong here: erasing rows. A run of the tenant that is alive ends at its next transaction.
Rests on RFC 7009 and https://pipedrive.readme.io/docs/app-uninstallation (read 2026-11).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import psycopg

from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connection_rows, states
from pipedrive_pipeline.vault.connection_rows import ConnectionRow
from pipedrive_pipeline.vault.errors import SecretUnreadable, WrongKey
from pipedrive_pipeline.vault.oauth_app import oauth_app
from pipedrive_pipeline.vault.states import ConnectionState, Reason
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse import fences

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Disconnected:
    """What came of a disconnect."""

    tenant: Tenant
    system: str
    is_revoked: bool  # the source was told, and forgot the grant
    note: str  # for people: why it was not told, or what is left to do


def disconnect(vault: Vault, tenant: Tenant, system: str, *, who: str) -> Disconnected:
    """The connection is over: revoked at the source where that can be, its tokens forgotten here.

    A source that cannot be reached does not keep a tenant connected; the note says what to do
    there. Done twice, the second time changes nothing.

    Raises:
        NotConnected: there never was a connection.
        WrongKey: the operator must put the key back first; nothing was changed.
    """
    with vault.warehouse.transaction() as transaction:
        held = connection_rows.locked(transaction, tenant, system)
        if held.state is ConnectionState.DISCONNECTED:
            return Disconnected(
                tenant, system, is_revoked=False, note="It was disconnected before."
            )
        fences.end_all(transaction, tenant.slug)  # first: what the source forgets stays forgotten
        refusal = _revoked(vault, transaction, held)
        _end(transaction, held, Reason.DISCONNECTED, who)
    return Disconnected(tenant, system, is_revoked=not refusal, note=refusal)


def disconnect_uninstalled(
    vault: Vault, system: str, *, client_id: str, company_id: str, user_id: str | None
) -> list[Tenant]:
    """The tenants whose connection this uninstall notice ended; may be empty.

    Args:
        vault: the vault.
        system: who sent the notice.
        client_id: the OAuth app that was removed; tenants of another app are not touched.
        company_id: whose account the app was removed from.
        user_id: whose installation it was; others of the same company keep theirs. None ends all.
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
            if vault.settings_of(tenant).pipedrive_client_id == client_id
        ]
        for tenant in tenants:
            held = connection_rows.locked(transaction, tenant, system)
            if held.state in {ConnectionState.CONNECTED, ConnectionState.NEEDS_REAUTH}:
                fences.end_all(transaction, tenant.slug)
                _end(transaction, held, Reason.UNINSTALLED, who=system)
    return tenants


def _revoked(vault: Vault, transaction: psycopg.Connection, held: ConnectionRow) -> str:
    """Why the grant was not revoked, in words; empty if it was."""
    if held.kind == "api_token":
        return "An API token cannot be revoked from here; renew it in the account's settings."
    if held.refresh_token is None:
        return "There was no grant to revoke."
    if _is_shared(transaction, held):
        # Pipedrive grants are per user and app: revoking one would end the other's as well.
        return "Another tenant is connected by the same user; its consent was left standing."
    try:
        oauth_app(vault.settings_of(held.tenant), held.system).revoke(
            connection_rows.token(vault.cipher, held, "refresh_token")
        )
    except WrongKey:
        raise
    except (PipelineError, SecretUnreadable) as error:
        log.warning("%s: not revoked at %s (%s)", held.tenant, held.system, error.code)
        return "The source could not be told; uninstall the app in the account's settings."
    return ""


def _is_shared(transaction: psycopg.Connection, held: ConnectionRow) -> bool:
    row = transaction.execute(
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
        (held.system, held.company_id, held.account_user_id, held.id),
    ).fetchone()
    return row is not None


def _end(transaction: psycopg.Connection, held: ConnectionRow, reason: Reason, who: str) -> None:
    states.change(
        transaction, held.tenant, held.system, ConnectionState.DISCONNECTED, reason=reason, who=who
    )
    for statement in (
        "delete from integration.pending_grants where tenant_id = %s and system = %s",
        "delete from integration.oauth_states where tenant_id = %s and system = %s",
        "delete from integration.connect_links where tenant_id = %s and system = %s",
        """
        update integration.sync_requests
        set state = 'failed', settled_at = now()
        where tenant_id = %s and system = %s and state = 'queued'
        """,
    ):
        transaction.execute(statement, (held.tenant.slug, held.system))
