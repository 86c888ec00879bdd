"""Rows of exported tokens: written and removed in the transaction that changes the connection.

A table that cannot be written keeps no tenant from refreshing or disconnecting: the reason is
noted, and the sensor tries again (`exports.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import psycopg
from psycopg import errors, sql
from pydantic import SecretStr

from pipedrive_pipeline.scope import Scope

LOCK_TIMEOUT: Final = "2s"  # a reader that locks the table must not hold up a sync

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Export:
    """Where a tenant's token is exported to."""

    table: tuple[str, str]  # schema and name
    external_id: UUID
    is_ending: bool

    @property
    def identifier(self) -> sql.Identifier:
        """The table, quoted."""
        return sql.Identifier(*self.table)


def export_of(transaction: psycopg.Connection, scope: Scope) -> Export | None:
    """The export of a tenant and system; None if there is none."""
    row = transaction.execute(_EXPORT, [scope.tenant.slug, scope.system]).fetchone()
    return Export((row[0], row[1]), row[2], row[3]) if row else None


def write(
    transaction: psycopg.Connection,
    scope: Scope,
    access: SecretStr,
    *,
    expires_at: datetime | None,
    api_domain: str,
) -> None:
    """Writes the row of an exported connection; a token that never expires is not exported."""
    export = export_of(transaction, scope)
    if export is None or export.is_ending:
        return
    if expires_at is None:
        remove(transaction, scope)
        return
    with _noted(transaction, scope):
        transaction.execute(
            sql.SQL(_WRITE).format(table=export.identifier),
            [export.external_id, access.get_secret_value(), expires_at, api_domain],
        )


def remove(transaction: psycopg.Connection, scope: Scope) -> bool:
    """Removes the row, if there is one; True unless it could not be removed now."""
    export = export_of(transaction, scope)
    if export is None:
        return True
    with _noted(transaction, scope) as done:
        transaction.execute(
            sql.SQL("delete from {} where tenant_id = %s").format(export.identifier),
            [export.external_id],
        )
        done.append(True)
    return bool(done)


def end(transaction: psycopg.Connection, scope: Scope) -> None:
    """Ends the export and removes the row; if that is not possible now, the sensor does it."""
    if remove(transaction, scope):
        statement = "delete from integration.token_exports where tenant_id = %s and system = %s"
    else:
        statement = (
            "update integration.token_exports set is_ending = true"
            " where tenant_id = %s and system = %s"
        )
    transaction.execute(statement, [scope.tenant.slug, scope.system])


@contextmanager
def _noted(transaction: psycopg.Connection, scope: Scope) -> Iterator[list[bool]]:
    """A block that changes the exported table; an error of it is noted and changes nothing else."""
    done: list[bool] = []
    reason = None
    before = transaction.execute("select current_setting('lock_timeout')").fetchone()
    try:
        with transaction.transaction():
            transaction.execute("select set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
            yield done
    except errors.UndefinedTable:
        done.append(True)  # nobody reads a token there any more
        reason = "the table is gone; run `tokens export` again"
    except psycopg.Error as error:
        if transaction.broken:
            raise
        # Postgres's message may quote the row.
        reason = f"Postgres refused it (SQLSTATE {error.sqlstate})"
    transaction.execute("select set_config('lock_timeout', %s, true)", before)
    if reason:
        log.warning("%s: the exported token could not be changed: %s", scope, reason)
    transaction.execute(_NOTE, [reason, reason, scope.tenant.slug, scope.system])


_EXPORT: Final = """
select
    token_exports.table_schema,
    token_exports.table_name,
    token_exports.external_id,
    token_exports.is_ending
from integration.token_exports
where token_exports.tenant_id = %s
    and token_exports.system = %s
"""
_WRITE: Final = """
insert into {table} (tenant_id, access_token, refresh_token, expires_at, api_domain)
values (%s, %s, null, %s, %s)
on conflict (tenant_id) do update
set access_token = excluded.access_token,
    refresh_token = null,
    expires_at = excluded.expires_at,
    api_domain = excluded.api_domain
"""
_NOTE: Final = """
update integration.token_exports
set failed_at = case when %s::text is not null then clock_timestamp() end, reason = %s
where tenant_id = %s
    and system = %s
"""
