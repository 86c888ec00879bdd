"""Credentials that come with a request: checked before anything is sent, used for it, forgotten."""

from __future__ import annotations

from dataclasses import dataclass

from pipedrive_pipeline.connect.api.linked_records.models import SentCredentials
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Account, Credential
from pipedrive_pipeline.connectors.hosts import checked_base_url
from pipedrive_pipeline.errors import BadInput, NotConnected
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes.errors import OtherAccount
from pipedrive_pipeline.vault.connect import account_of_credential
from pipedrive_pipeline.vault.connections import connection
from pipedrive_pipeline.vault.states import ConnectionState
from pipedrive_pipeline.vault.vault import Vault


@dataclass(frozen=True)
class CheckedCredential:
    """A credential that works, and the account that it opens."""

    credential: Credential
    account: Account
    is_connected_account: bool  # the tenant's rows are of this account


def credential_of(vault: Vault, scope: Scope, sent: SentCredentials) -> Credential:
    """The credential of a request, if it may go to its host.

    Raises:
        BadInput: the system has no such credentials.
        HostNotAllowed: the operator does not list the host; nothing was sent.
    """
    declared = registry.system(scope.system)
    kinds = [scheme.kind for scheme in declared.auth]
    kind = sent.kind or ("api_token" if "api_token" in kinds else kinds[0])
    if kind not in kinds:
        raise BadInput(f"{declared.label} has no credentials of the kind {kind}.")
    base_url = checked_base_url(sent.api_url, vault.allowed_hosts(scope))
    return Credential(kind, sent.token, base_url)


def tested(vault: Vault, scope: Scope, sent: SentCredentials) -> CheckedCredential:
    """The credential of a request, after one call with it.

    Raises:
        BadInput, HostNotAllowed: as `credential_of`.
        TokenRefused: the source does not accept it.
        SourceUnavailable, SourceBroke: nothing is known.
    """
    credential = credential_of(vault, scope, sent)
    account = account_of_credential(vault, scope, credential)
    row = connection(vault, scope)
    return CheckedCredential(
        credential, account, row is not None and row.company_id == account.company_id
    )


def for_calls(vault: Vault, scope: Scope, sent: SentCredentials | None) -> Credential | None:
    """The credential that signs a request's calls; None: the connection's own.

    A write is checked by the definitions that were read from the connected account, and shown by
    its tables, so that other credentials must open that account.

    Raises:
        NotConnected: the tenant has no connection, and so no tables of an account.
        OtherAccount: they open another one.
        PipelineError: as `tested`.
    """
    row = connection(vault, scope)
    if row is None or row.state is ConnectionState.DISCONNECTED:
        raise NotConnected(scope.tenant.slug, scope.system)
    if sent is None:
        return None
    checked = tested(vault, scope, sent)
    if not checked.is_connected_account:
        raise OtherAccount(
            f"These credentials open another account of {registry.system(scope.system).label} than "
            f"the one that {scope.tenant} is connected to. Nothing was written; connect that "
            "account to a tenant of its own."
        )
    return checked.credential
