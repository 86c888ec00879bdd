"""Reads `integration.connections` without tokens, as every package may see a connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from pipedrive_pipeline.errors import NotConnected
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.states import ConnectionState
from pipedrive_pipeline.vault.vault import Vault

SHOWN: Final = """
    select
        connections.id,
        connections.tenant_id,
        connections.system,
        connections.kind,
        connections.state,
        connections.state_reason,
        connections.generation,
        connections.token_expires_at,
        connections.api_domain,
        connections.company_id,
        connections.company_name,
        connections.company_domain,
        connections.account_user_name,
        connections.is_account_admin,
        connections.scopes,
        connections.connected_by,
        connections.connected_at,
        connections.last_sync_at,
        connections.last_sync_status,
        connections.last_sync_error
    from integration.connections as connections
    where %(tenant)s::text is null or connections.tenant_id = %(tenant)s
    order by connections.tenant_id asc, connections.system asc
"""


@dataclass(frozen=True)
class TenantConnection:
    """One row of `integration.connections`. Company and account are unknown while pending."""

    id: UUID
    tenant: Tenant
    system: str
    kind: str  # "oauth" or "api_token"
    state: ConnectionState
    state_reason: str | None
    generation: int  # grows with each token that is stored
    token_expires_at: datetime | None  # None: does not expire, or there is none
    api_domain: str | None
    company_id: str | None
    company_name: str | None
    company_domain: str | None
    account_user_name: str | None  # the user with whose rights rows are read
    is_account_admin: bool | None
    scopes: tuple[str, ...]
    connected_by: str | None
    connected_at: datetime | None
    last_sync_at: datetime | None
    last_sync_status: str | None
    last_sync_error: str | None


def connection(vault: Vault, scope: Scope) -> TenantConnection | None:
    """The tenant's connection to this system; None if it never started to connect."""
    rows = connections(vault, scope.tenant)
    return next((row for row in rows if row.system == scope.system), None)


def existing(vault: Vault, scope: Scope) -> TenantConnection:
    """The tenant's connection to this system.

    Raises:
        NotConnected: the tenant never started to connect.
    """
    row = connection(vault, scope)
    if row is None:
        raise NotConnected(scope.tenant.slug, scope.system)
    return row


def connections(vault: Vault, tenant: Tenant | None = None) -> list[TenantConnection]:
    """Every connection of one tenant, or of all, by tenant and system. May be empty.

    For one tenant the database itself shows no other, nor any token.
    """
    warehouse = vault.warehouse
    with warehouse.as_app(tenant) if tenant else warehouse.transaction() as transaction:
        return of_tenant(transaction, tenant)


def of_tenant(transaction: psycopg.Connection, tenant: Tenant | None) -> list[TenantConnection]:
    """The connections of one tenant, or of all, in a transaction that may see them."""
    with transaction.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SHOWN, {"tenant": tenant.slug if tenant else None}).fetchall()
    return [
        TenantConnection(
            tenant=Tenant(row.pop("tenant_id")),
            state=ConnectionState(row.pop("state")),
            scopes=tuple(row.pop("scopes") or ()),
            **row,
        )
        for row in rows
    ]
