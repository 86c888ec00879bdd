"""Grants that wait up to ten minutes, sealed, until a person confirms the company.

A connection that works is not touched until the new one is confirmed. A grant that nobody confirms
is deleted, not revoked: at the source it may be the same grant as the one in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row
from pydantic import SecretStr

from pipedrive_pipeline.connectors.contract import Account
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connect, connections, states
from pipedrive_pipeline.vault.cipher import Cipher, SecretLocation
from pipedrive_pipeline.vault.connect import NewConnection, StartAfresh
from pipedrive_pipeline.vault.connection_rows import ConnectionTokens, storable
from pipedrive_pipeline.vault.connections import TenantConnection
from pipedrive_pipeline.vault.errors import NothingToConfirm
from pipedrive_pipeline.vault.vault import Vault

KEPT_MINUTES = 10

INSERT = """
    insert into integration.pending_grants (
        id, session_hash, tenant_id, system, started_by,
        access_token, refresh_token, token_expires_at, api_domain, scopes,
        company_id, company_name, company_domain, company_country,
        account_user_id, account_user_name, is_account_admin,
        created_at, expires_at, came_by_link
    )
    values (
        %(id)s, %(session)s, %(tenant)s, %(system)s, %(who)s,
        %(access)s, %(refresh)s, %(token_expires_at)s, %(api_domain)s, %(scopes)s,
        %(company_id)s, %(company_name)s, %(company_domain)s, %(company_country)s,
        %(user_id)s, %(user_name)s, %(is_admin)s,
        %(created_at)s, now() + make_interval(mins => %(kept_minutes)s), %(came_by_link)s
    )
"""


@dataclass(frozen=True)
class PendingGrant:
    """A grant without its tokens: the account that a page shows for confirmation."""

    id: UUID
    scope: Scope
    account: Account
    scopes: tuple[str, ...]
    expires_at: datetime
    is_confirmed: bool
    held_company: str | None  # the company whose rows the tenant has, if it is another


def hold(
    transaction: psycopg.Connection,
    cipher: Cipher,
    new_connection: NewConnection,
    session: str,
    *,
    came_by_link: bool = False,
) -> UUID:
    """Stores the grant until it is confirmed; an earlier grant of this session is deleted.

    Args:
        transaction: the caller's.
        cipher: seals the tokens.
        new_connection: the grant.
        session: hash of the browser session that obtained it.
        came_by_link: only that session may confirm it, and no key.
    """
    grant_id, tokens, account = uuid4(), new_connection.tokens, new_connection.account
    states.begin(transaction, new_connection.scope, kind=tokens.kind)
    transaction.execute(
        """
        delete from integration.pending_grants
        where session_hash = %s or expires_at < now()
        """,
        (session,),
    )
    transaction.execute(
        INSERT,
        {
            "id": grant_id,
            "session": session,
            "tenant": new_connection.scope.tenant.slug,
            "system": new_connection.scope.system,
            "who": new_connection.who,
            "access": cipher.seal(
                tokens.access, _location(new_connection, grant_id, "access_token")
            ),
            "refresh": tokens.refresh
            and cipher.seal(tokens.refresh, _location(new_connection, grant_id, "refresh_token")),
            "token_expires_at": tokens.expires_at,
            "api_domain": tokens.api_domain,
            "scopes": [storable(scope) for scope in tokens.scopes] or None,
            "company_id": account.company_id,
            "company_name": account.company_name,
            "company_domain": account.company_domain,
            "company_country": account.country or None,
            "user_id": account.user_id,
            "user_name": account.user_name,
            "is_admin": account.is_admin,
            "created_at": tokens.issued_at,
            "kept_minutes": KEPT_MINUTES,
            "came_by_link": came_by_link,
        },
    )
    return grant_id


def of_session(vault: Vault, session: str) -> PendingGrant | None:
    """The grant that this browser session obtained, confirmed or not; None if it is gone."""
    with vault.warehouse.transaction() as transaction:
        row = _row(transaction, "pending_grants.session_hash = %s", (session,))
    return _pending(row) if row else None


def newest_of_tenant(vault: Vault, scope: Scope) -> PendingGrant | None:
    """The tenant's newest grant that a caller with a key may confirm; None if there is none.

    A grant that came by a link is left out: its maker could otherwise connect the company of the
    person who consented.
    """
    with vault.warehouse.transaction() as transaction:
        row = _row(
            transaction,
            "pending_grants.tenant_id = %s and pending_grants.system = %s "
            "and pending_grants.confirmed_at is null and not pending_grants.came_by_link",
            (scope.tenant.slug, scope.system),
        )
    return _pending(row) if row else None


def confirm(
    vault: Vault,
    grant_id: UUID,
    *,
    start_afresh: StartAfresh | None = None,
    is_choice_awaited: bool = False,
) -> TenantConnection:
    """Makes the grant the tenant's connection, moves its tokens there, and returns the connection.

    Args:
        vault: the vault.
        grant_id: of a grant that the caller may confirm.
        start_afresh: passed if the person also confirmed the change of company.
        is_choice_awaited: the person chooses what is read before the first read is requested.

    Raises:
        NothingToConfirm: it was confirmed before, or ten minutes are over; consent again.
        OtherCompany: the person must confirm that, too. The grant still waits.
        SecretUnreadable, WrongKey: as `Cipher.open`.
    """
    with vault.warehouse.transaction() as transaction:
        row = _row(
            transaction,
            "pending_grants.id = %s and pending_grants.confirmed_at is null",
            (grant_id,),
        )
        if row is None:
            raise NothingToConfirm
        new_connection = _new_connection(vault.cipher, row)
        connect.store(
            transaction,
            vault.cipher,
            new_connection,
            start_afresh=start_afresh,
            is_choice_awaited=is_choice_awaited,
        )
        transaction.execute(
            """
            update integration.pending_grants
            set confirmed_at = now(), access_token = null, refresh_token = null
            where id = %s
            """,
            (grant_id,),
        )
    return connections.existing(vault, new_connection.scope)


def _row(
    transaction: psycopg.Connection, condition: str, parameters: tuple[object, ...]
) -> dict[str, Any] | None:
    """The newest row that meets the condition and has not expired, locked; None if none does."""
    with transaction.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            f"""
            select
                pending_grants.*,
                connections.company_id as held_company_id,
                connections.company_name as held_company_name
            from integration.pending_grants as pending_grants
            left join integration.connections as connections
                on connections.tenant_id = pending_grants.tenant_id
                and connections.system = pending_grants.system
            where {condition}
                and pending_grants.expires_at > now()
            order by pending_grants.created_at desc
            limit 1
            for update of pending_grants
            """,
            parameters,
        ).fetchone()


def _pending(row: dict[str, Any]) -> PendingGrant:
    is_other = row["held_company_id"] not in {None, row["company_id"]}
    return PendingGrant(
        id=row["id"],
        scope=_scope(row),
        account=_account(row),
        scopes=tuple(row["scopes"] or ()),
        expires_at=row["expires_at"],
        is_confirmed=row["confirmed_at"] is not None,
        held_company=(row["held_company_name"] or row["held_company_id"]) if is_other else None,
    )


def _new_connection(cipher: Cipher, row: dict[str, Any]) -> NewConnection:
    scope = _scope(row)

    def opened(column: str) -> SecretStr:
        location = SecretLocation(scope, f"pending_grants.{row['id']}.{column}")
        return cipher.open(row[column], location)

    tokens = ConnectionTokens(
        kind="oauth",
        access=opened("access_token"),
        refresh=opened("refresh_token") if row["refresh_token"] else None,
        api_domain=row["api_domain"],
        issued_at=row["created_at"],
        expires_at=row["token_expires_at"],
        scopes=tuple(row["scopes"] or ()),
    )
    return NewConnection(scope, tokens, _account(row), who=row["started_by"])


def _scope(row: dict[str, Any]) -> Scope:
    return Scope(Tenant(row["tenant_id"]), row["system"])


def _account(row: dict[str, Any]) -> Account:
    return Account(
        company_id=row["company_id"],
        company_name=row["company_name"],
        company_domain=row["company_domain"],
        user_id=row["account_user_id"],
        user_name=row["account_user_name"],
        is_admin=row["is_account_admin"],
        country=row["company_country"] or "",
    )


def _location(new_connection: NewConnection, grant_id: UUID, column: str) -> SecretLocation:
    return SecretLocation(new_connection.scope, f"pending_grants.{grant_id}.{column}")
