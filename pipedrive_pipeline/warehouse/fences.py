"""Fences: the identity with which a run writes, and the revocation of that right.

A lock alone cannot stop a process that was suspended, lost the lock's session and resumes after
another process took the lock: time passes between checking a lock and writing. So every
transaction of a run locks its rows of `integration.fences` with `for share`, and a change of these
rows waits for such transactions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import psycopg

from pipedrive_pipeline.errors import Superseded, UnknownTenant

END_WAIT_SECONDS: Final = 30  # for a transaction of a run, such as the load of one chunk

# `raw/…` before `marts/…`, as everywhere: two transactions that lock rows of a tenant in different
# orders would wait for each other.
COUNT_HELD: Final = """
select count(*)
from (
    select
    from integration.fences as fences
    where fences.holder = any (%s::uuid[])
    order by fences.lock desc
    for share
) as held
"""


@dataclass(frozen=True)
class Fence:
    """One run's identity, one value for each lock that it took; current while all are stored."""

    tenant: str
    holders: tuple[str, ...]

    def hold(self, cursor: psycopg.Cursor) -> None:
        """Locks the fence's rows until the transaction ends; also accepts psycopg2's cursors.

        Raises:
            Superseded: one of them is another's by now, or gone.
        """
        cursor.execute(COUNT_HELD, (list(self.holders),))
        row = cursor.fetchone()
        self.require(row[0] if row else 0)

    def require(self, held_count: int) -> None:
        """Returns if `COUNT_HELD` of the holders counted all of them.

        Raises:
            Superseded: as `hold`.
        """
        if held_count < len(self.holders):
            raise Superseded(self.tenant)

    def and_also(self, other: Fence | None) -> Fence:
        """The fence of a run that took the locks of both."""
        return Fence(self.tenant, (*(other.holders if other else ()), *self.holders))


def take(connection: psycopg.Connection, tenant: str, locks: Iterable[str]) -> Fence:
    """Puts a new identity into the rows of these locks; their former owner can no longer write.

    Raises:
        UnknownTenant: it is not registered any more.
    """
    holders = []
    for lock in sorted(locks, reverse=True):
        row = connection.execute(_TAKE, (lock, tenant)).fetchone()
        if row is None:
            raise UnknownTenant(tenant)
        holders.append(str(row[0]))
    return Fence(tenant, tuple(holders))


def end_all(connection: psycopg.Connection, tenant: str) -> None:
    """Ends every run of a tenant that has begun: once this is committed it writes nothing more.

    Call it in the transaction of the change that makes its answers wrong: another company, a
    disconnect, a removal. Transactions that such a run has open are waited for.

    Raises:
        psycopg.errors.LockNotAvailable: one took longer.
    """
    before = connection.execute("show lock_timeout").fetchone()
    connection.execute("select set_config('lock_timeout', %s, true)", (f"{END_WAIT_SECONDS}s",))
    connection.execute(_LOCK_ALL, (tenant,))
    connection.execute(_END_ALL, (tenant,))
    connection.execute("select set_config('lock_timeout', %s, true)", before)


_TAKE = """
insert into integration.fences as known (lock, tenant_id)
select %s, tenants.slug
from integration.tenants
where tenants.slug = %s
on conflict (lock) do update
set holder = excluded.holder, taken_at = excluded.taken_at
returning known.holder
"""

_LOCK_ALL = """
select from integration.fences
where fences.tenant_id = %s
order by fences.lock desc
for update
"""

_END_ALL = """
update integration.fences
set holder = gen_random_uuid(), taken_at = clock_timestamp()
where fences.tenant_id = %s
"""
