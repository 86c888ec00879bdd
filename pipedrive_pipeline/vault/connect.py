"""Connects a tenant: one call tests the tokens, then they are stored and a sync is requested.

Storing and requesting are one transaction. A consent for another company than before needs a
confirmation; the caller passes what is then done with the former company's rows.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from pydantic import SecretStr

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Access, Account, ApiCall, Credential, System
from pipedrive_pipeline.connectors.hosts import checked_base_url
from pipedrive_pipeline.errors import BadInput, SourceBroke, UnknownTenant
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.vault import connection_rows, connections, exported_rows, states
from pipedrive_pipeline.vault.cipher import Cipher
from pipedrive_pipeline.vault.connection_rows import (
    ConnectionRow,
    ConnectionTokens,
    database_time,
    storable,
)
from pipedrive_pipeline.vault.connections import TenantConnection
from pipedrive_pipeline.vault.errors import OtherCompany
from pipedrive_pipeline.vault.lending import lender_of
from pipedrive_pipeline.vault.states import ConnectionState
from pipedrive_pipeline.vault.vault import Vault

T = TypeVar("T")
COUNTRY = re.compile("[A-Za-z]{2}")  # ISO 3166, two letters
StartAfresh = Callable[[psycopg.Connection, Scope], None]
"""Marks the former company's rows and deletes its watermarks, in the given transaction."""


def connect_with_api_token(
    vault: Vault,
    scope: Scope,
    token: SecretStr,
    api_url: str,
    *,
    who: str,
    start_afresh: StartAfresh | None = None,
) -> TenantConnection:
    """Connects the tenant by an API token, after one call with the token succeeded.

    Args:
        vault: the vault.
        scope: the tenant to connect, and the system.
        token: as the person entered it.
        api_url: any address of the company's host, such as ``https://acme.pipedrive.com``.
        who: the person who connects, for the audit log.
        start_afresh: passed if a person confirmed the change of company.

    Raises:
        BadInput: the system takes no API token.
        HostNotAllowed: before anything is sent.
        TokenRefused: the person copies the token again. Nothing was changed.
        OtherCompany: a person confirms first. Nothing was changed.
        UnknownTenant: no such tenant. Nothing was changed.
        SourceUnavailable: no answer; a rerun may help. Nothing was changed.
    """
    declaration = registry.system(scope.system)
    if declaration.auth_of("api_token") is None:
        raise BadInput(f"{declaration.label} takes no API token; connect by consent.")
    base_url = checked_base_url(api_url, vault.allowed_hosts(scope))
    account = account_of_credential(vault, scope, Credential("api_token", token, base_url))
    with vault.warehouse.transaction() as transaction:
        tokens = ConnectionTokens(
            kind="api_token",
            access=token,
            api_domain=base_url,
            issued_at=database_time(transaction),
        )
        store(
            transaction,
            vault.cipher,
            NewConnection(scope, tokens, account, who),
            start_afresh=start_afresh,
        )
    return connections.existing(vault, scope)


def account_of_credential(vault: Vault, scope: Scope, credential: Credential) -> Account:
    """The account that a credential opens, by one call to the source.

    Raises:
        TokenRefused: the source does not accept it.
        SourceUnavailable, HostNotAllowed, SourceBroke: as the connector's errors.
    """
    declaration = registry.system(scope.system)
    access = Access(
        tenant=scope.tenant.slug,
        lend=lender_of(scope, credential),
        allowed_hosts=vault.allowed_hosts(scope),
        on_call=_not_metered,
    )
    return fetch_account(declaration, access)


def fetch_account(system: System, access: Access) -> Account:
    """The account that this access opens, by one call.

    Raises:
        SourceBroke: the answer does not name the account.
    """

    async def fetch() -> Account:
        async with system.open(access) as source:
            return await source.account()

    account = run_to_end(fetch())
    if not account.company_id:
        raise SourceBroke(f"{access.tenant}: {system.label} does not say whose account it is.")
    return Account(
        company_id=storable(account.company_id),
        company_name=storable(account.company_name),
        company_domain=storable(account.company_domain),
        user_id=storable(account.user_id),
        user_name=storable(account.user_name),
        is_admin=account.is_admin,
        country=account.country.upper() if COUNTRY.fullmatch(account.country) else "",
    )


@dataclass(frozen=True)
class NewConnection:
    """Tested tokens, the account that they open, and the person who connects."""

    scope: Scope
    tokens: ConnectionTokens
    account: Account
    who: str


def store(
    transaction: psycopg.Connection,
    cipher: Cipher,
    new_connection: NewConnection,
    *,
    start_afresh: StartAfresh | None = None,
    is_choice_awaited: bool = False,
) -> None:
    """Stores a tested connection in state connected and requests its sync, in this transaction.

    Args:
        transaction: the caller's.
        cipher: seals the tokens.
        new_connection: the tested connection.
        start_afresh: passed if a person confirmed the change of company.
        is_choice_awaited: the person chooses what is read before the first read is requested.

    Raises:
        OtherCompany: the tenant has rows of another company and nobody confirmed the change.
        UnknownTenant: no such tenant.
    """
    scope = new_connection.scope
    try:
        states.begin(transaction, scope, kind=new_connection.tokens.kind)
    except psycopg.errors.ForeignKeyViolation:
        raise UnknownTenant(scope.tenant.slug) from None
    row = connection_rows.locked(transaction, scope)
    is_other_company = row.company_id not in {None, new_connection.account.company_id}
    if is_other_company:
        if start_afresh is None:
            raise _other_company(row, new_connection.account)
        start_afresh(transaction, scope)
        exported_rows.end(transaction, scope)  # its reader was promised the former company
    states.change(
        transaction,
        scope,
        ConnectionState.CONNECTED,
        reason=None,
        who=new_connection.who,
        columns=_columns(cipher, new_connection, row),
    )
    tokens = new_connection.tokens
    exported_rows.write(
        transaction,
        scope,
        tokens.access,
        expires_at=tokens.expires_at,
        api_domain=tokens.api_domain,
    )
    is_first = row.company_id is None or is_other_company
    if not (is_first and is_choice_awaited):
        _request_sync(transaction, new_connection, sync_type="full" if is_first else "incremental")


def require_same_company(transaction: psycopg.Connection, scope: Scope, account: Account) -> None:
    """Returns if the account is of the company that the tenant has rows of.

    Raises:
        OtherCompany: it is another one, or the tenant has never been connected.
    """
    row = transaction.execute(
        "select connections.company_id, connections.company_name from integration.connections"
        " where connections.tenant_id = %s and connections.system = %s",
        (scope.tenant.slug, scope.system),
    ).fetchone()
    company_id, company_name = row or (None, None)
    if company_id != account.company_id:
        raise OtherCompany(
            scope.tenant.slug,
            scope.system,
            current=f"{company_name or 'a company'} (id {company_id})" if company_id else "none",
            offered=f"{account.company_name or 'a company'} (id {account.company_id})",
            may_change=False,
        )


def run_to_end(coroutine: Coroutine[object, object, T]) -> T:
    """The result of a coroutine, also within a running event loop; its exception is raised."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def _columns(
    cipher: Cipher, new_connection: NewConnection, row: ConnectionRow
) -> dict[str, object]:
    account = new_connection.account
    return {
        **new_connection.tokens.columns(cipher, row.location("", generation=row.generation + 1)),
        "connected_by": new_connection.who,
        "connected_at": new_connection.tokens.issued_at,
        "company_id": account.company_id,
        "company_name": account.company_name,
        "company_domain": account.company_domain,
        "account_user_id": account.user_id,
        "account_user_name": account.user_name,
        "is_account_admin": account.is_admin,
        "company_country": account.country or None,
    }


def _other_company(row: ConnectionRow, account: Account) -> OtherCompany:
    return OtherCompany(
        row.scope.tenant.slug,
        row.scope.system,
        current=f"{row.company_name or 'a company'} (id {row.company_id})",
        offered=f"{account.company_name or 'a company'} (id {account.company_id})",
    )


def _request_sync(
    transaction: psycopg.Connection, new_connection: NewConnection, *, sync_type: str
) -> None:
    """Requests a sync, unless one of the same kind is queued already."""
    scope = new_connection.scope
    transaction.execute(
        """
        insert into integration.sync_requests (tenant_id, system, sync_type, trigger, requested_by)
        values (%s, %s, %s, 'connect', %s)
        on conflict do nothing
        """,
        (scope.tenant.slug, scope.system, sync_type, new_connection.who),
    )


def _not_metered(call: ApiCall) -> None:
    """Does not count the call: a connection test belongs to no run."""
