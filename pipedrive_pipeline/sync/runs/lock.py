"""A tenant's two locks: one for the run that reads the CRM, one for the build of the marts.

Dagster's queue does not replace them: a run that it starts still needs its lock.

| lock | for |
|---|---|
| `raw/TENANT/SYSTEM` | a whole run: loads, marks of deletion, keys seen, values raw rejected |
| `marts/TENANT` | the seconds of a build: marts, views |

Erasures need both. Locks on raw are taken before the lock on the marts, and no process waits for
another lock while it has that one, so there are no deadlocks. A lock keeps a second run from
beginning; its fence (`warehouse/fences.py`) keeps a run that lost the lock unnoticed from writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final

import psycopg
from psycopg import errors

from pipedrive_pipeline.connectors.registry import system_keys
from pipedrive_pipeline.errors import Busy, DatabaseUnavailable, Superseded, UnknownTenant
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse import fences, locks
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.reused_connection import reusing

# Runs that make no calls to the source: they take the lock on the marts only.
WITHOUT_SOURCE: Final = frozenset({"remap", "verify"})
BUILD_WAIT_SECONDS: Final = 120  # for another build of the tenant; a full build takes this long


def lock_of_run(scope: Scope, sync_type: str) -> str:
    """Returns the name of the lock that a run of this kind holds as long as it lives."""
    return scope.tenant.marts_lock if sync_type in WITHOUT_SOURCE else scope.raw_lock


class TenantLock:
    """The right to change one tenant's raw tables, marts, or both.

    Attributes:
        tenant: the tenant that the locks belong to.
        names: the names of the locks, in the order in which they were taken.
        warehouse: the database; it refuses this run's writes once the run is superseded.
    """

    def __init__(
        self,
        tenant: Tenant,
        names: tuple[str, ...],
        session: psycopg.Connection,
        warehouse: Warehouse,
    ) -> None:
        self.tenant, self.names, self._session = tenant, names, session
        self.warehouse = warehouse

    def covers(self, name: str) -> bool:
        """True if the lock of this name is among these locks."""
        return name in self.names

    def assert_held(self) -> None:
        """Returns while the lock's session lives and no newer run has taken a fence.

        Raises:
            DatabaseUnavailable: the session and its lock are gone; another run may have the lock.
            Superseded: this run may not write any more.
        """
        with self.warehouse.transaction():
            pass  # its fence is current
        try:
            self._session.execute("select 1")
        except psycopg.Error:
            raise DatabaseUnavailable(
                f"{self.tenant}: the session that held this tenant's lock is gone; "
                "the run stops before it writes. The next run goes on from what is committed."
            ) from None

    @contextmanager
    def superseding(self) -> Iterator[None]:
        """Turns any error of the block into `Superseded` if this run may not write any more.

        The first error of such a run is random: a dropped table, a removed file, a missing token.
        """
        try:
            yield
        except Superseded:
            raise
        except Exception:
            if self._is_superseded():
                # Without the cause, because Postgres's messages quote rows.
                raise Superseded(self.tenant.slug) from None
            raise

    @contextmanager
    def with_marts(self, *, wait_seconds: float = BUILD_WAIT_SECONDS) -> Iterator[TenantLock]:
        """Yields these locks and the one on the marts, for the length of the block.

        Raises:
            Busy: another build of this tenant takes longer than ``wait_seconds``.
            DatabaseUnavailable, Superseded: as `assert_held`.
        """
        name = self.tenant.marts_lock
        if self.covers(name):
            yield self
            return
        self.assert_held()
        self._session.execute("savepoint marts")
        try:
            _take(self._session, self.tenant, name, wait_seconds)
            warehouse = _fenced(self.warehouse, self.tenant, [name])
            yield TenantLock(self.tenant, (*self.names, name), self._session, warehouse)
        finally:
            with suppress(psycopg.Error):  # if the session is gone, the lock is free
                self._session.execute("rollback to savepoint marts")

    def drop(self) -> None:
        """Drops all locks of a removed tenant; processes that wait for such a lock are refused.

        A lock that is left over does no harm: the tenant uses it if it is added again.
        """
        with suppress(psycopg.Error):
            locks.drop(self._session, self.tenant.slug)

    def _is_superseded(self) -> bool:
        try:
            with self.warehouse.transaction():
                return False
        except Superseded:
            return True
        except DatabaseUnavailable:
            return False


def walk_lock(warehouse: Warehouse, scope: Scope) -> AbstractContextManager[TenantLock]:
    """Holds the lock on what is stored of one system, and keeps migrations out.

    Raises:
        Busy: another run has the lock; raised at once, without waiting.
        Contended: a run that lost the lock has a transaction open that does not end within 5 s.
        UnknownTenant: it is not registered.
    """
    return _held(warehouse, scope.tenant, [scope.raw_lock])


def build_lock(
    warehouse: Warehouse, tenant: Tenant, *, wait_seconds: float = BUILD_WAIT_SECONDS
) -> AbstractContextManager[TenantLock]:
    """Holds the lock on a tenant's marts and views, and keeps migrations out; a read may go on.

    Raises:
        Busy: another build takes longer than ``wait_seconds``.
        Contended, UnknownTenant: as `walk_lock`.
    """
    return _held(warehouse, tenant, [tenant.marts_lock], wait_seconds=wait_seconds)


def run_lock(
    warehouse: Warehouse,
    scope: Scope,
    sync_type: str,
    *,
    wait_seconds: float = BUILD_WAIT_SECONDS,
) -> AbstractContextManager[TenantLock]:
    """Holds the lock of a run of this kind; ``wait_seconds`` limits the wait for another build."""
    if sync_type in WITHOUT_SOURCE:
        return build_lock(warehouse, scope.tenant, wait_seconds=wait_seconds)
    return walk_lock(warehouse, scope)


def tenant_lock(warehouse: Warehouse, tenant: Tenant) -> AbstractContextManager[TenantLock]:
    """Holds every lock of a tenant: nothing of it is read or built during the block.

    Raises:
        Busy: a run of this tenant is alive, or a build takes too long.
        Contended, UnknownTenant: as `walk_lock`.
    """
    return _held(warehouse, tenant, _all_names(tenant, system_keys()))


def lock_for_change(connection: psycopg.Connection, scope: Scope) -> None:
    """Holds both locks for the rest of a transaction, and ends every run that lost one of them.

    And the lock on writes, first, as a write takes it: a call that is on its way is waited for.
    Signed with the token of another company it would change a record of that one.

    Raises:
        Busy: a run or a write of this tenant has one of these locks; nothing was changed.
    """
    for name in [scope.write_lock, *_all_names(scope.tenant, [scope.system])]:
        locks.prepare(connection, name)
        # A build or a write is short and waited for, a read is not.
        _take(connection, scope.tenant, name, 0 if name == scope.raw_lock else None)
    fences.end_all(connection, scope.tenant.slug)


def locks_taken(warehouse: Warehouse) -> frozenset[str]:
    """Returns the names of all locks that are taken by any process on any machine."""
    with warehouse.transaction() as connection:
        return locks.taken(connection)


def is_locked(warehouse: Warehouse, tenant: Tenant) -> bool:
    """True while a run of this tenant is alive on any machine."""
    return not is_free(locks_taken(warehouse), tenant)


def is_free(names: frozenset[str], tenant: Tenant) -> bool:
    """True if none of the tenant's own locks is among these names."""
    return names.isdisjoint(_all_names(tenant, system_keys()))


def _all_names(tenant: Tenant, systems: Iterable[str]) -> list[str]:
    return [*(Scope(tenant, system).raw_lock for system in sorted(systems)), tenant.marts_lock]


@contextmanager
def _held(
    warehouse: Warehouse,
    tenant: Tenant,
    names: list[str],
    *,
    wait_seconds: float = BUILD_WAIT_SECONDS,
) -> Iterator[TenantLock]:
    with reusing(warehouse) as reused, reused.lock_session() as session:
        _prepare(reused, tenant, {*names, tenant.marts_lock})
        locks.take(session, locks.MIGRATION, is_shared=True)
        for name in names:
            _take(session, tenant, name, wait_seconds if name == tenant.marts_lock else 0)
        fenced = _fenced(reused, tenant, names)
        lock = TenantLock(tenant, tuple(names), session, fenced)
        with lock.superseding():
            yield lock


def _prepare(warehouse: Warehouse, tenant: Tenant, names: Iterable[str]) -> None:
    """Creates the locks of a tenant; keeps the tenant from being removed meanwhile."""
    with warehouse.transaction() as connection:
        query = "select from integration.tenants where slug = %s for key share"
        if connection.execute(query, [tenant.slug]).fetchone() is None:
            raise UnknownTenant(tenant.slug)
        for name in sorted(names):
            locks.prepare(connection, name)


def _take(
    session: psycopg.Connection, tenant: Tenant, name: str, wait_seconds: float | None
) -> None:
    """Takes a lock, waiting so long for it; None: as long as the session waits for any lock."""
    try:
        locks.take(session, name, wait_seconds=wait_seconds)
    except errors.LockNotAvailable:
        raise Busy(tenant.slug) from None
    except errors.UndefinedTable:
        raise UnknownTenant(tenant.slug) from None


def _fenced(warehouse: Warehouse, tenant: Tenant, names: Sequence[str]) -> Warehouse:
    """Takes the fences in their own transaction: the lock's session must keep no transaction id."""
    with warehouse.transaction() as connection:
        return warehouse.behind(fences.take(connection, tenant.slug, names))
