"""A usable credential for one tenant: the stored token if it is fresh, else a refreshed one."""

from __future__ import annotations

from pipedrive_pipeline.connectors.contract import Credential
from pipedrive_pipeline.errors import ReauthNeeded
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connection_rows, states, token_refresh
from pipedrive_pipeline.vault.connection_rows import ConnectionRow
from pipedrive_pipeline.vault.errors import SecretUnreadable
from pipedrive_pipeline.vault.states import ConnectionState, Reason
from pipedrive_pipeline.vault.vault import Vault, open_vault
from pipedrive_pipeline.warehouse.database import Warehouse


def lend(
    tenant: Tenant | str,
    system: str,
    *,
    refused: Credential | None = None,
    warehouse: Warehouse | None = None,
    settings: Settings | None = None,
) -> Credential:
    """A credential that is valid for some minutes at least; safe to call from many processes.

    Args:
        tenant: the owner of the connection.
        system: the connector's key.
        refused: the credential that the source just refused; it is not lent again.
        warehouse: where the connection is stored; from the settings if left out.
        settings: from the environment if left out.

    Raises:
        NotConnected: the tenant must connect first.
        ReauthNeeded: consent is gone; the tenant must connect again. The state is stored.
        ClientRejected: the operator must correct the app's id or secret; the consent stays.
        SecretUnreadable: the stored token was altered; this connection is stopped.
        WrongKey: the operator must put the encryption key back.
        HostNotAllowed: the operator decides about the host that the source named.
        SourceUnavailable: no answer to a refresh; the stored token has expired. A rerun may help.
    """
    tenant = tenant if isinstance(tenant, Tenant) else Tenant(tenant)
    vault = open_vault(warehouse, settings)
    row = connection_rows.read(vault, tenant, system)
    try:
        return _lent(vault, row, refused)
    except SecretUnreadable:
        _stop(vault, row, Reason.TOKEN_UNREADABLE)
        raise


def _lent(vault: Vault, row: ConnectionRow, refused: Credential | None) -> Credential:
    connection_rows.require_connected(row)
    is_refused = refused is not None and refused.generation >= row.generation
    if row.is_fresh and not is_refused:
        return connection_rows.credential(vault.cipher, row)
    if row.kind == "oauth":
        return token_refresh.refreshed(vault, row, is_refused=is_refused)
    _stop(vault, row, Reason.API_TOKEN_REFUSED)
    raise ReauthNeeded(row.tenant.slug, row.system, Reason.API_TOKEN_REFUSED.sentence)


def _stop(vault: Vault, row: ConnectionRow, reason: Reason) -> None:
    """Sets the state needs_reauth, unless another token was stored meanwhile."""
    with vault.warehouse.transaction() as transaction:
        current = connection_rows.locked(transaction, row.tenant, row.system)
        if current.state is ConnectionState.CONNECTED and current.generation == row.generation:
            states.change(
                transaction,
                row.tenant,
                row.system,
                ConnectionState.NEEDS_REAUTH,
                reason=reason,
                who="vault",
            )
