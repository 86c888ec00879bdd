"""One run per tenant at a time."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.errors import Busy, DatabaseUnavailable, ExitCode
from pipedrive_pipeline.sync.lock import is_locked, tenant_lock
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.sync.conftest import ACME, BETA


def test_a_tenant_that_is_locked_is_refused_at_once(warehouse: Warehouse) -> None:
    with (
        tenant_lock(warehouse, ACME),
        pytest.raises(Busy) as caught,
        tenant_lock(warehouse, ACME),
    ):
        pass

    assert caught.value.exit_code is ExitCode.BUSY
    assert caught.value.tenant == "acme"


def test_another_tenant_is_not_held_up(warehouse: Warehouse) -> None:
    with tenant_lock(warehouse, ACME), tenant_lock(warehouse, BETA):
        assert is_locked(warehouse, ACME)
        assert is_locked(warehouse, BETA)


def test_the_lock_is_free_after_the_block_however_it_ended(warehouse: Warehouse) -> None:
    with pytest.raises(ZeroDivisionError), tenant_lock(warehouse, ACME):
        raise ZeroDivisionError

    assert not is_locked(warehouse, ACME)
    with tenant_lock(warehouse, ACME):
        assert is_locked(warehouse, ACME)


def test_a_run_that_lost_its_session_may_not_write(warehouse: Warehouse) -> None:
    """Another run may hold the lock by now."""
    with tenant_lock(warehouse, ACME) as lock:
        lock.assert_held()
        with warehouse.connect(autocommit=True) as other:
            other.execute(
                "select pg_terminate_backend(pid) from pg_locks"
                " where locktype = 'advisory' and pid <> pg_backend_pid()"
                " and database = (select oid from pg_database where datname = current_database())"
            )

        with pytest.raises(DatabaseUnavailable, match="acme: the session that held"):
            lock.assert_held()


def test_the_same_tenant_of_another_database_is_not_ours(
    database_template: str, warehouse: Warehouse
) -> None:
    """Postgres shows the locks of the whole server; `status` said "running" for a neighbour."""
    with databases.copy_of(database_template) as url, tenant_lock(Warehouse(url), ACME):
        assert is_locked(Warehouse(url), ACME)
        assert not is_locked(warehouse, ACME)


def test_a_lock_is_free_as_soon_as_its_block_has_ended(warehouse: Warehouse) -> None:
    """Postgres ends a closed session a moment later; a run right after another was refused."""
    for _ in range(30):
        with tenant_lock(warehouse, ACME):
            pass
        assert not is_locked(warehouse, ACME)
