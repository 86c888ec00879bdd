"""Tests a connection by one call: the account that answers, and what its user cannot read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Access, Account, Entity
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.vault import connection_rows
from pipedrive_pipeline.vault.connect import fetch_account
from pipedrive_pipeline.vault.lending import borrow
from pipedrive_pipeline.vault.vault import Vault


@dataclass(frozen=True)
class ConnectionCheck:
    """The account that answered, and the data that its user cannot read."""

    account: Account
    missing_scopes: tuple[str, ...]
    unreadable_entities: tuple[str, ...]
    limits: tuple[str, ...]  # sentences for the user; empty if everything can be read


def check_connection(vault: Vault, scope: Scope, entities: Collection[Entity]) -> ConnectionCheck:
    """Calls the source with a lent credential and returns the account and its limits.

    Args:
        vault: lends the credential.
        scope: the tenant and system.
        entities: those that the tenant reads; only they limit the result.

    Raises:
        NotConnected, ReauthNeeded, ClientRejected, HostNotAllowed, SecretUnreadable: as `lend`.
        SourceUnavailable: no answer; nothing is known.
    """
    declaration = registry.system(scope.system)
    account = fetch_account(
        declaration,
        Access(
            tenant=scope.tenant.slug,
            lend=partial(borrow, vault, scope),
            allowed_hosts=vault.allowed_hosts(scope),
            on_call=lambda _: None,
        ),
    )
    row = connection_rows.read(vault, scope)
    # An API token has every right of its user; a source that lists no scopes limits none.
    granted = frozenset(row.scopes)
    missing = missing_scopes(scope.system, granted, entities)
    unreadable = () if not granted else _unreadable(entities, granted)
    return ConnectionCheck(account, missing, unreadable, _limits(account, unreadable))


def missing_scopes(
    system: str, granted: Collection[str], entities: Iterable[Entity]
) -> tuple[str, ...]:
    """Scopes that reading these entities needs and the grant lacks, each once.

    A scope is not missing if a wider one that an entity names is granted. Empty if the source lists
    no scopes.
    """
    if not granted:
        return ()
    declared = registry.system(system)

    def is_covered(wanted: str) -> bool:
        alternatives = (entity.scopes for entity in declared.entities if wanted in entity.scopes)
        return not frozenset(granted).isdisjoint({wanted}.union(*alternatives))

    always = [scope for scheme in declared.auth for scope in scheme.scopes_needed]
    missing = [scope for scope in always if not is_covered(scope)]
    missing += [
        entity.scopes[0]
        for entity in entities
        if entity.scopes and frozenset(granted).isdisjoint(entity.scopes)
    ]
    return tuple(dict.fromkeys(missing))


def _unreadable(entities: Iterable[Entity], granted: frozenset[str]) -> tuple[str, ...]:
    return tuple(
        entity.name for entity in entities if entity.scopes and granted.isdisjoint(entity.scopes)
    )


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
