"""One run per tenant at a time, held in Postgres, gone with the process that holds it.

Belongs here: the advisory lock on a session of its own, and the number of the run that took it.
Does not belong here: Dagster's queue, which is bookkeeping: a run that it lets through still needs
this lock.

The lock keeps two runs from beginning. The number keeps a run that lost its lock without noticing
(stopped, cut off) from writing: every transaction of a run, dlt's included, holds its own number
(`warehouse.database.Fence`), and whoever takes the lock next raises it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from pipedrive_pipeline.errors import Busy, DatabaseUnavailable
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Fence, Warehouse
from pipedrive_pipeline.warehouse.migrations import MIGRATION_LOCK


class TenantLock:
    """The right to change one tenant's raw and marts.

    Attributes:
        tenant: whose.
        warehouse: the database as this run may write to it, until another one begins.
    """

    def __init__(self, tenant: Tenant, session: psycopg.Connection, warehouse: Warehouse) -> None:
        self.tenant, self._session, self.warehouse = tenant, session, warehouse

    @property
    def generation(self) -> int:
        """The number of this run; 0 where the tenant is not registered."""
        return self.warehouse.fence.generation if self.warehouse.fence else 0

    def assert_held(self) -> None:
        """Returns while the session that holds the lock lives.

        Raises:
            DatabaseUnavailable: it is gone, and with it the lock; another run may hold it now.
            Superseded: another run has begun since.
        """
        with self.warehouse.transaction():
            pass  # its fence is held
        try:
            self._session.execute("select 1")
        except psycopg.Error:
            raise DatabaseUnavailable(
                f"{self.tenant}: the session that held this tenant's lock is gone; "
                "the run stops before it writes. The next run goes on from what is committed."
            ) from None


@contextmanager
def tenant_lock(warehouse: Warehouse, tenant: Tenant) -> Iterator[TenantLock]:
    """Holds the tenant's lock, and keeps migrations out, for the length of the block.

    Raises:
        Busy: another run of this tenant holds it. Answered at once, without waiting.
        Contended: a run that lost the lock is amid a transaction; its end is waited for 5 s.
    """
    with warehouse.connect(autocommit=True) as session:
        session.execute("select pg_advisory_lock_shared(%s)", [MIGRATION_LOCK])
        row = session.execute("select pg_try_advisory_lock(%s)", [tenant.lock_key]).fetchone()
        if not (row and row[0]):
            raise Busy(tenant.slug)
        try:
            yield TenantLock(tenant, session, _numbered(warehouse, tenant, session))
        finally:
            # A closed session's locks last until its server process has noticed, milliseconds in
            # which the next run of the tenant would be refused.
            with suppress(psycopg.Error):
                session.execute("select pg_advisory_unlock_all()")


def _numbered(warehouse: Warehouse, tenant: Tenant, session: psycopg.Connection) -> Warehouse:
    row = session.execute(_NEXT_GENERATION, [tenant.slug]).fetchone()
    return warehouse.behind(Fence(tenant.slug, row[0])) if row else warehouse


def is_locked(warehouse: Warehouse, tenant: Tenant) -> bool:
    """Whether a run of this tenant is alive, wherever it runs."""
    with warehouse.transaction() as connection:
        row = connection.execute(
            "select exists (select from pg_locks where locktype = 'advisory' and granted"
            " and ((classid::bigint << 32) | objid::bigint) = %s and objsubid = 1"
            # The view shows the whole server; the same tenant of another database is not ours.
            " and database = (select oid from pg_database where datname = current_database()))",
            [tenant.lock_key],
        ).fetchone()
    return bool(row and row[0])


_NEXT_GENERATION = """
insert into integration.generations as known (tenant_id)
select tenants.slug from integration.tenants as tenants where tenants.slug = %s
on conflict (tenant_id) do update
set generation = known.generation + 1, begun_at = clock_timestamp()
returning generation
"""
