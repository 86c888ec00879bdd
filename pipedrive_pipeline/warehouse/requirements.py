"""Checks what a database needs to be a warehouse and no setting can change.

Its encoding, its rules for letters, no pooler. Sources: https://www.pgbouncer.org/features.html,
https://www.postgresql.org/docs/current/multibyte.html and
https://www.postgresql.org/docs/current/locale.html.
"""

from __future__ import annotations

from typing import Final

import psycopg

from pipedrive_pipeline.errors import PersonMustAct
from pipedrive_pipeline.warehouse import sessions
from pipedrive_pipeline.warehouse.database import Warehouse

ENCODING: Final = "UTF8"
# Lower case in every language but Turkish and its relatives, whose I has no dot. The locale C knows
# the letters A to Z only.
LETTERS: Final = "select lower('IÄЖŁ') = 'iäжł' and 'Ж' ~ '[[:alnum:]]'"
HAS_BUILTIN_LOCALES: Final = 170_000  # a server version
ROUNDS = 10  # one is enough on an idle pooler; others may take its server connections meanwhile


class WrongEncoding(PersonMustAct):
    """The database cannot store every character that a CRM holds."""

    code = "wrong_encoding"
    who_acts = "the operator"


class TransactionPooler(PersonMustAct):
    """A pooler assigns a session per transaction, so locks and settings of a session are lost."""

    code = "transaction_pooler"
    who_acts = "the operator"


def require_fit(warehouse: Warehouse) -> None:
    """Returns if this database, reached in this way, can hold a warehouse.

    Raises:
        WrongEncoding: its encoding is not UTF-8.
        TransactionPooler: the URL leads to a pooler in transaction or statement mode.
    """
    with warehouse.connect(autocommit=True) as connection:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != ENCODING:
            raise WrongEncoding(
                f"{warehouse.place} has the encoding {encoding}, which cannot store every name in "
                f"a CRM; create another one (`{_creation(connection)}`), let DATABASE_URL name it, "
                "then run `migrate`."
            )
        if sessions.set_up(connection) and _is_shared(warehouse, connection):
            raise TransactionPooler(
                f"{warehouse.place} is a connection pooler in transaction or statement mode, where "
                "locks and settings of a session are lost; let DATABASE_URL name Postgres itself "
                "(usually port 5432) or a pooler in session mode (`pool_mode = session`)."
            )


def locale_limit(warehouse: Warehouse) -> str | None:
    """Returns what searches and matches miss by the database's locale; None if it has no limit."""
    with warehouse.connect(autocommit=True) as connection:
        row = connection.execute(LETTERS).fetchone()
        if row and row[0]:
            return None
        return (
            "by the database's locale Ä, Ж or Ł are no letters, or the small letter of I is not i, "
            "so that searches and matches miss records; another database would not "
            f"(`{_creation(connection)}`)"
        )


def _creation(connection: psycopg.Connection) -> str:
    """The statement for a database that fits, with any locales of the server's machine."""
    has_builtin = connection.info.server_version >= HAS_BUILTIN_LOCALES
    locale = "builtin builtin_locale 'C.UTF-8'" if has_builtin else "icu icu_locale 'und'"
    return f"create database NAME encoding '{ENCODING}' locale_provider {locale} template template0"


def _is_shared(warehouse: Warehouse, connection: psycopg.Connection) -> bool:
    """True if two open sessions reach the same server process, or one reaches two of them.

    In session mode neither can be. In transaction mode an idle pooler gives its newest or its
    oldest idle connection to the next client: after each statement of the first session, a
    transaction of the second takes the same one, or the first then gets another.
    """
    first = _process(connection)
    with warehouse.connect(autocommit=True) as other:
        for _ in range(ROUNDS):
            if _process(other) == first:
                return True
            with other.transaction():
                if _process(other) == first or _process(connection) != first:
                    return True
    return False


def _process(connection: psycopg.Connection) -> int:
    row = connection.execute("select pg_backend_pid()").fetchone()
    assert row is not None  # noqa: S101 - it has no `from`
    return int(row[0])
