"""Tests a connection by one call: the account that answers, and what its user cannot read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Access, Account, Credential, System
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.vault import connection_rows
from pipedrive_pipeline.vault.connect import fetch_account
from pipedrive_pipeline.vault.lending import lend
from pipedrive_pipeline.vault.vault import Vault


@dataclass(frozen=True)
class ConnectionCheck:
    """The account that answered, and the data that its user cannot read."""

    account: Account
    missing_scopes: tuple[str, ...]
    unreadable_entities: tuple[str, ...]
    limits: tuple[str, ...]  # sentences for the user; empty if everything can be read


def check_connection(vault: Vault, scope: Scope) -> ConnectionCheck:
    """Calls the source with a lent credential and returns the account and its limits.

    Raises:
        NotConnected, ReauthNeeded, ClientRejected, HostNotAllowed, SecretUnreadable: as `lend`.
        SourceUnavailable: no answer; nothing is known.
    """
    declaration = registry.system(scope.system)

    def lend_again(refused: Credential | None = None) -> Credential:
        return lend(
            scope.tenant,
            scope.system,
            refused=refused,
            warehouse=vault.warehouse,
            settings=vault.settings,
        )

    account = fetch_account(
        declaration,
        Access(
            tenant=scope.tenant.slug,
            lend=lend_again,
            allowed_hosts=vault.allowed_hosts(scope),
            on_call=lambda _: None,
        ),
    )
    row = connection_rows.read(vault, scope)
    # An API token has every right of its user; a source that lists no scopes limits none.
    granted = frozenset(row.scopes)
    missing = () if not granted else _missing(declaration, granted)
    unreadable = () if not granted else _unreadable(declaration, granted)
    return ConnectionCheck(account, missing, unreadable, _limits(account, unreadable))


def _missing(system: System, granted: frozenset[str]) -> tuple[str, ...]:
    """Needed scopes that are neither granted nor covered by a wider scope that an entity names."""

    def covers(wanted: str) -> set[str]:
        alternatives = (entity.scopes for entity in system.entities)
        return {wanted}.union(*(scopes for scopes in alternatives if wanted in scopes))

    return tuple(
        scope
        for scheme in system.auth
        for scope in scheme.scopes_needed
        if granted.isdisjoint(covers(scope))
    )


def _unreadable(system: System, granted: frozenset[str]) -> tuple[str, ...]:
    return tuple(
        entity.name
        for entity in system.entities
        if entity.scopes and granted.isdisjoint(entity.scopes)
    )


def missing_scopes(system: str, granted: Collection[str]) -> tuple[str, ...]:
    """Scopes that a sync needs and the grant lacks; empty if the source lists no scopes."""
    return _missing(registry.system(system), frozenset(granted)) if granted else ()


def _limits(account: Account, unreadable: tuple[str, ...]) -> tuple[str, ...]:
    sentences = []
    if account.is_admin is False:
        sentences.append(
            f"{account.user_name or 'The connected user'} is no administrator: records that only "
            "others may see are absent. Connect as an administrator to read them."
        )
    if account.is_admin is None:
        sentences.append("The source does not say whether this user may see every record.")
    if unreadable:
        sentences.append(f"The consent does not cover {', '.join(unreadable)}.")
    return tuple(sentences)
