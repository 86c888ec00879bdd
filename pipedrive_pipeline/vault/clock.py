"""The vault's clock: the database's, because all processes share it.

Tests move the stored times instead of the clock.
"""

from __future__ import annotations

from datetime import datetime

import psycopg


def now(transaction: psycopg.Connection) -> datetime:
    """The current time in UTC, not the transaction's start."""
    row = transaction.execute("select clock_timestamp()").fetchone()
    if row is None:  # a select without from has one row
        raise AssertionError
    instant: datetime = row[0]
    return instant
