"""Checks the keys of all stored secrets, and re-encrypts each with the first key while syncs run.

The order for an operator: put the new key in front of `TOKEN_ENCRYPTION_KEYS` everywhere and
restart everything (both keys decrypt from then on); rotate; take the old key out. If a rotation is
interrupted, the next one continues: a row that is sealed with the first key is skipped.

A secret that nobody can read any more, because its key is lost or it was altered, is discarded on
request: until then the Connect app does not start, and nobody could connect again.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from pydantic import SecretStr

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connection_rows, states
from pipedrive_pipeline.vault.cipher import (
    Cipher,
    SecretLocation,
    alert_addresses,
    secret_of_webhook,
)
from pipedrive_pipeline.vault.errors import SecretUnreadable, WrongKey
from pipedrive_pipeline.vault.states import ConnectionState, Reason
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse import audit_log

Row = dict[str, Any]


@dataclass(frozen=True)
class SealedTable:
    """A table with sealed columns: its key, the location of each secret, and how one is given up.

    Attributes:
        discard: takes an unreadable secret out of a row, and stops what needs it.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    location: Callable[[Row, str], SecretLocation]
    discard: Callable[[psycopg.Connection, Cipher, Row, str], None]


@dataclass(frozen=True)
class RotationCounts:
    """The number of secrets by what one rotation did with them."""

    resealed_count: int
    current_count: int  # were sealed with the first key already
    unreadable: tuple[str, ...]  # what is wrong with each that could not be read, and what to do

    @property
    def unreadable_count(self) -> int:
        """How many were altered, or have no key; they stay, unless they are discarded."""
        return len(self.unreadable)


def _scope(row: Row) -> Scope:
    return Scope(Tenant(row["tenant_id"]), row["system"])


def _in_connections(row: Row, column: str) -> SecretLocation:
    return SecretLocation(_scope(row), column, row["generation"])


def _stop_connection(session: psycopg.Connection, _cipher: Cipher, row: Row, _column: str) -> None:
    """The tenant connects again; one token without the other is of no use."""
    if row["state"] == ConnectionState.CONNECTED:
        states.change(
            session,
            _scope(row),
            ConnectionState.NEEDS_REAUTH,
            reason=Reason.TOKEN_UNREADABLE,
            who="rotate-keys",
        )
    states.write(session, row["id"], states.NO_TOKENS)


def _in_pending_grants(row: Row, column: str) -> SecretLocation:
    return SecretLocation(_scope(row), f"pending_grants.{row['id']}.{column}")


def _drop_grant(session: psycopg.Connection, _cipher: Cipher, row: Row, _column: str) -> None:
    session.execute("delete from integration.pending_grants where id = %s", [row["id"]])


def _in_sync_settings(row: Row, _column: str) -> SecretLocation:
    return alert_addresses(_scope(row))


def _clear_addresses(session: psycopg.Connection, _cipher: Cipher, row: Row, _column: str) -> None:
    session.execute(_CLEAR_ADDRESSES, [row["tenant_id"], row["system"]])


def _in_app_webhooks(row: Row, _column: str) -> SecretLocation:
    return secret_of_webhook(Tenant(row["tenant_id"]), row["id"])


def _disable_webhook(session: psycopg.Connection, cipher: Cipher, row: Row, column: str) -> None:
    """A webhook without its secret waits for a new one; the former one is not needed."""
    if column == "former_secret":
        session.execute(_FORGET_FORMER, [row["id"]])
        return
    unknown = SecretStr(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}")
    sealed = cipher.seal(unknown, _in_app_webhooks(row, column))
    session.execute(_DISABLE, [sealed, row["id"]])


SEALED_TABLES = (
    SealedTable(
        "connections",
        ("id",),
        ("access_token", "refresh_token"),
        _in_connections,
        _stop_connection,
    ),
    SealedTable(
        "pending_grants",
        ("id",),
        ("access_token", "refresh_token"),
        _in_pending_grants,
        _drop_grant,
    ),
    SealedTable(
        "sync_settings",
        ("tenant_id", "system"),
        ("alert_urls",),
        _in_sync_settings,
        _clear_addresses,
    ),
    SealedTable(
        "app_webhooks",
        ("id",),
        ("secret", "former_secret"),
        _in_app_webhooks,
        _disable_webhook,
    ),
)


def check_keys(vault: Vault) -> int:
    """The number of stored secrets, if each is sealed with a key of the list.

    Only key ids are compared, so that this is cheap at each start; a secret that was altered is
    detected when it is lent, and stops that connection only.

    Raises:
        WrongKey: a key is missing; the operator must put it back. Nothing is overwritten.
    """
    sealed = sql.SQL(" union all ").join(
        sql.SQL("select {} as sealed from {}").format(
            sql.Identifier(column), sql.Identifier("integration", table.name)
        )
        for table in SEALED_TABLES
        for column in table.columns
    )
    with vault.warehouse.transaction() as transaction:
        rows = transaction.execute(sql.SQL(_KEYS_USED).format(sealed=sealed)).fetchall()
    missing = vault.cipher.missing_keys([key_id for key_id, _ in rows])
    if missing:
        raise WrongKey(missing)
    return sum(count for _, count in rows)


def rotate_keys(
    vault: Vault, *, is_discarding: bool = False, is_trial: bool = False
) -> RotationCounts:
    """Re-encrypts every secret with the first key, one short transaction per row.

    Args:
        vault: whose secrets.
        is_discarding: gives up secrets that no key of the list opens, and stops what needs them.
        is_trial: changes nothing; the counts are what would be done.

    Raises:
        WrongKey: a key is missing; nothing was changed. Not if secrets are discarded.
    """
    if not is_discarding:
        check_keys(vault)
    rotation = _Rotation(vault.cipher, is_discarding=is_discarding)
    with vault.warehouse.connect(autocommit=True) as session:
        session.execute(
            "select set_config('lock_timeout', %s, false)", (connection_rows.LOCK_TIMEOUT,)
        )
        for table in SEALED_TABLES:
            for key in _keys(session, table):
                with session.transaction(force_rollback=is_trial):
                    rotation.reseal(session, table, key)
    return RotationCounts(
        resealed_count=rotation.resealed_count,
        current_count=rotation.current_count,
        unreadable=tuple(rotation.unreadable),
    )


def _keys(session: psycopg.Connection, table: SealedTable) -> list[tuple[Any, ...]]:
    query = sql.SQL("select {} from {} order by {}").format(
        _names(table.key), sql.Identifier("integration", table.name), _names(table.key)
    )
    return session.execute(query).fetchall()


class _Rotation:
    """One rotation: what it did so far."""

    def __init__(self, cipher: Cipher, *, is_discarding: bool) -> None:
        self._cipher, self._is_discarding = cipher, is_discarding
        self.resealed_count = self.current_count = 0
        self.unreadable: list[str] = []

    def reseal(self, session: psycopg.Connection, table: SealedTable, key: tuple[Any, ...]) -> None:
        """Re-encrypts the secrets of one row, which is locked for the transaction."""
        for column in table.columns:
            row = _locked_row(session, table, key)
            if row.get(column) is not None:
                self._reseal(session, table, row, column)

    def _reseal(
        self, session: psycopg.Connection, table: SealedTable, row: Row, column: str
    ) -> None:
        sealed, location = row[column], table.location(row, column)
        try:
            secret = self._opened(sealed, location)
        except SecretUnreadable as error:
            self.unreadable.append(str(error))
            if self._is_discarding:
                table.discard(session, self._cipher, row, column)
                _note(session, location)
            return
        if self._cipher.is_current(sealed):
            self.current_count += 1
            return
        update = sql.SQL("update {} set {} = %s where {}").format(
            sql.Identifier("integration", table.name), sql.Identifier(column), _is_row(table)
        )
        resealed = self._cipher.seal(secret, location)
        session.execute(update, (resealed, *(row[name] for name in table.key)))
        self.resealed_count += 1

    def _opened(self, sealed: str, location: SecretLocation) -> SecretStr:
        try:
            return self._cipher.open(sealed, location)
        except WrongKey:
            if not self._is_discarding:
                raise
            raise location.unreadable("its key is not in the list") from None


def _locked_row(session: psycopg.Connection, table: SealedTable, key: tuple[Any, ...]) -> Row:
    query = sql.SQL("select * from {} where {} for update").format(
        sql.Identifier("integration", table.name), _is_row(table)
    )
    with session.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, key).fetchone() or {}


def _is_row(table: SealedTable) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("{} = %s").format(sql.Identifier(name)) for name in table.key
    )


def _note(session: psycopg.Connection, location: SecretLocation) -> None:
    audit_log.note(
        session,
        location.scope.tenant,
        who="rotate-keys",
        action="secret.discard",
        subject=f"{location.scope.system} {location.column}",
    )


def _names(names: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)


_KEYS_USED = """
select left(secrets.sealed, 8) as key_id, count(*) as secrets_count
from ({sealed}) as secrets
where secrets.sealed ~ '^[0-9a-f]{{8}}[.]'
group by left(secrets.sealed, 8)
"""
_CLEAR_ADDRESSES = """
update integration.sync_settings
set alert_urls = null
where sync_settings.tenant_id = %s
    and sync_settings.system = %s
"""
_FORGET_FORMER = """
update integration.app_webhooks
set former_secret = null, former_secret_until = null
where app_webhooks.id = %s
"""
_DISABLE = """
update integration.app_webhooks
set secret = %s,
    state = 'disabled',
    state_reason = 'Its secret could not be read and was discarded; make a new one, then go on.',
    disabled_at = clock_timestamp()
where app_webhooks.id = %s
"""
