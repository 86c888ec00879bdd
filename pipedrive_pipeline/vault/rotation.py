"""Re-encrypts every stored secret with the first key, row by row, while syncs run.

The order for an operator: put the new key in front of `TOKEN_ENCRYPTION_KEYS` everywhere and
restart everything (both keys decrypt from then on); rotate; take the old key out. If a rotation is
interrupted, the next one continues: a row that is sealed with the first key is skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connection_rows
from pipedrive_pipeline.vault.cipher import Cipher, SecretLocation, secret_of_webhook
from pipedrive_pipeline.vault.errors import SecretUnreadable
from pipedrive_pipeline.vault.vault import Vault, check_keys


@dataclass(frozen=True)
class SealedTable:
    """A table with sealed columns: its key, and the location of each secret."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    location: Callable[[dict[str, Any], str], SecretLocation]


@dataclass(frozen=True)
class RotationCounts:
    """The number of secrets by what one rotation did with them."""

    resealed_count: int
    current_count: int  # were sealed with the first key already
    unreadable_count: int  # altered; lending them stops their connection


def _scope(row: dict[str, Any]) -> Scope:
    return Scope(Tenant(row["tenant_id"]), row["system"])


def _in_connections(row: dict[str, Any], column: str) -> SecretLocation:
    return SecretLocation(_scope(row), column, row["generation"])


def _in_pending_grants(row: dict[str, Any], column: str) -> SecretLocation:
    return SecretLocation(_scope(row), f"pending_grants.{row['id']}.{column}")


def _in_sync_settings(row: dict[str, Any], column: str) -> SecretLocation:
    return SecretLocation(_scope(row), f"sync_settings.{column}")


def _in_app_webhooks(row: dict[str, Any], _column: str) -> SecretLocation:
    return secret_of_webhook(Tenant(row["tenant_id"]), row["id"])


SEALED_TABLES = (
    SealedTable("connections", ("id",), ("access_token", "refresh_token"), _in_connections),
    SealedTable("pending_grants", ("id",), ("access_token", "refresh_token"), _in_pending_grants),
    SealedTable("sync_settings", ("tenant_id", "system"), ("alert_urls",), _in_sync_settings),
    SealedTable("app_webhooks", ("id",), ("secret", "former_secret"), _in_app_webhooks),
)


def rotate_keys(vault: Vault) -> RotationCounts:
    """Re-encrypts every secret with the first key, one short transaction per row.

    Raises:
        WrongKey: a key is missing; nothing was changed.
    """
    check_keys(vault)
    done = {"resealed": 0, "current": 0, "unreadable": 0}
    with vault.warehouse.connect(autocommit=True) as session:
        session.execute(
            "select set_config('lock_timeout', %s, false)", (connection_rows.LOCK_TIMEOUT,)
        )
        for table in SEALED_TABLES:
            for key in _keys(session, table):
                with session.transaction():
                    for outcome in _reseal(session, vault.cipher, table, key):
                        done[outcome] += 1
    return RotationCounts(
        resealed_count=done["resealed"],
        current_count=done["current"],
        unreadable_count=done["unreadable"],
    )


def _keys(session: psycopg.Connection, table: SealedTable) -> list[tuple[Any, ...]]:
    query = sql.SQL("select {} from {} order by {}").format(
        _names(table.key), sql.Identifier("integration", table.name), _names(table.key)
    )
    return session.execute(query).fetchall()


def _reseal(
    session: psycopg.Connection, cipher: Cipher, table: SealedTable, key: tuple[Any, ...]
) -> list[str]:
    """The outcome for each secret of one row, which is locked for the transaction."""
    named = sql.Identifier("integration", table.name)
    condition = sql.SQL(" and ").join(
        sql.SQL("{} = %s").format(sql.Identifier(name)) for name in table.key
    )
    with session.cursor(row_factory=dict_row) as cursor:
        query = sql.SQL("select * from {} where {} for update").format(named, condition)
        row = cursor.execute(query, key).fetchone() or {}
    outcomes = []
    for column in table.columns:
        sealed = row.get(column)
        if sealed is None:
            continue
        resealed, outcome = _resealed(cipher, sealed, table.location(row, column))
        outcomes.append(outcome)
        if resealed is not None:
            update = sql.SQL("update {} set {} = %s where {}").format(
                named, sql.Identifier(column), condition
            )
            session.execute(update, (resealed, *key))
    return outcomes


def _resealed(cipher: Cipher, sealed: str, location: SecretLocation) -> tuple[str | None, str]:
    try:
        secret = cipher.open(sealed, location)
    except SecretUnreadable:
        return None, "unreadable"
    if cipher.is_current(sealed):
        return None, "current"
    return cipher.seal(secret, location), "resealed"


def _names(names: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)
