"""The one clock of the vault: the database's, because every process asks the same one.

Does not belong here: a clock for tests; they move the stored times instead.
"""

from __future__ import annotations

from datetime import datetime

import psycopg


def now(transaction: psycopg.Connection) -> datetime:
    """This instant, not the transaction's beginning."""
    row = transaction.execute("select clock_timestamp()").fetchone()
    if row is None:  # a select without from has one row
        raise AssertionError
    instant: datetime = row[0]
    return instant
