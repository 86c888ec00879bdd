"""A tenant's locks: one run that reads, one build at a time, and no login that can hold them up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors, sql

from pipedrive_pipeline.errors import (
    Busy,
    DatabaseUnavailable,
    ExitCode,
    Superseded,
    UnknownTenant,
)
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import (
    TenantLock,
    build_lock,
    is_locked,
    locks_taken,
    tenant_lock,
    walk_lock,
)
from pipedrive_pipeline.sync.tenancy import removal
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse import fences, locks
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.sync.conftest import ACME, BETA, SYSTEM, ControlTables

Locking = Callable[[Warehouse, Tenant], AbstractContextManager[TenantLock]]


def walk(warehouse: Warehouse, tenant: Tenant) -> AbstractContextManager[TenantLock]:
    return walk_lock(warehouse, Scope(tenant, SYSTEM))


@pytest.fixture(autouse=True)
def _registered(control: ControlTables) -> None:
    """Acme and beta, of whom there are no locks yet."""


ALL_LOCKS = pytest.mark.parametrize("lock", [walk, build_lock, tenant_lock])


def holders(warehouse: Warehouse) -> list[tuple[int, str | None, str | None]]:
    """The sessions that hold one of our locks, with snapshot and transaction id."""
    with warehouse.transaction() as connection:
        return connection.execute(
            """
            select distinct stat.pid, stat.backend_xmin::text, stat.backend_xid::text
            from pg_locks
            inner join pg_class on pg_class.oid = pg_locks.relation
            inner join pg_stat_activity as stat on stat.pid = pg_locks.pid
            where pg_class.relnamespace = 'pipeline_locks'::regnamespace
                and pg_locks.database = (
                    select oid from pg_database where datname = current_database()
                )
            """
        ).fetchall()


def test_a_tenant_whose_run_is_alive_is_refused_at_once(warehouse: Warehouse) -> None:
    with walk(warehouse, ACME), pytest.raises(Busy) as caught, walk(warehouse, ACME):
        pass

    assert caught.value.exit_code is ExitCode.BUSY
    assert caught.value.tenant == "acme"


def test_another_tenant_does_not_wait(warehouse: Warehouse) -> None:
    with tenant_lock(warehouse, ACME), tenant_lock(warehouse, BETA):
        assert is_locked(warehouse, ACME)
        assert is_locked(warehouse, BETA)


def test_a_read_and_a_build_do_not_hold_each_other_up(warehouse: Warehouse) -> None:
    """A first full read takes hours; a mapping that was saved meanwhile is applied at once."""
    with walk(warehouse, ACME) as reading, build_lock(warehouse, ACME, wait_seconds=0) as building:
        reading.assert_held()
        building.assert_held()
    with build_lock(warehouse, ACME) as building, walk(warehouse, ACME) as reading:
        reading.assert_held()
        building.assert_held()


def test_an_erasure_neither_waits_for_a_read_nor_runs_during_one(
    warehouse: Warehouse,
) -> None:
    with walk(warehouse, ACME), pytest.raises(Busy), tenant_lock(warehouse, ACME):
        pass
    with tenant_lock(warehouse, ACME), pytest.raises(Busy), walk(warehouse, ACME):
        pass


def test_a_build_waits_for_another_one(warehouse: Warehouse) -> None:
    """They take seconds; failing at once would make a person start the second one again."""
    is_waiting, is_built = threading.Event(), threading.Event()

    def build() -> None:
        with walk(warehouse, ACME) as lock:
            is_waiting.set()
            with lock.with_marts(wait_seconds=60):
                is_built.set()

    other = threading.Thread(target=build)
    with build_lock(warehouse, ACME):
        other.start()
        assert is_waiting.wait(30)
        was_built_at_once = is_built.is_set()
    other.join(30)

    assert not was_built_at_once
    assert is_built.is_set()


def test_a_build_that_waits_in_vain_is_refused_and_its_run_lives_on(warehouse: Warehouse) -> None:
    with build_lock(warehouse, ACME), walk(warehouse, ACME) as lock:
        with pytest.raises(Busy), lock.with_marts(wait_seconds=0.05):
            pass
        lock.assert_held()
    with walk(warehouse, ACME) as lock, lock.with_marts() as both:
        both.assert_held()


def test_the_marts_are_free_again_when_a_run_has_built_them(warehouse: Warehouse) -> None:
    with walk(warehouse, ACME) as lock:
        with lock.with_marts():
            assert ACME.marts_lock in locks_taken(warehouse)
        assert locks_taken(warehouse) == {Scope(ACME, SYSTEM).raw_lock}


@ALL_LOCKS
def test_a_lock_is_free_after_the_block_however_it_ended(
    lock: Locking, warehouse: Warehouse
) -> None:
    with pytest.raises(ZeroDivisionError), lock(warehouse, ACME):
        raise ZeroDivisionError

    assert not is_locked(warehouse, ACME)
    with lock(warehouse, ACME):
        assert is_locked(warehouse, ACME)


@pytest.mark.slow
def test_a_lock_is_free_as_soon_as_its_block_has_ended(warehouse: Warehouse) -> None:
    """Postgres ends a closed session a moment later; a run right after another was refused."""
    for _ in range(30):
        with walk(warehouse, ACME):
            pass
        assert not is_locked(warehouse, ACME)


@ALL_LOCKS
def test_a_session_that_holds_a_lock_keeps_nothing_that_holds_vacuum_back(
    lock: Locking, warehouse: Warehouse
) -> None:
    """A first full read takes hours; in them every update of the database would leave bloat."""
    with lock(warehouse, ACME) as tenant_lock:
        tenant_lock.assert_held()
        with tenant_lock.with_marts() as building:
            building.assert_held()
            during = holders(warehouse)
        after = holders(warehouse)

    assert [row[1:] for row in during] == [(None, None)]
    assert after == during


def test_no_limit_on_idle_transactions_ends_a_lock(warehouse: Warehouse) -> None:
    """An operator may set one for the whole server; ours is ten minutes, a read takes longer."""
    name = urlsplit(warehouse.url).path[1:]
    with warehouse.connect(autocommit=True) as connection:
        for setting in ("idle_in_transaction_session_timeout", "transaction_timeout"):
            if connection.execute("select from pg_settings where name = %s", [setting]).fetchone():
                connection.execute(
                    sql.SQL("alter database {} set {} = '100ms'").format(
                        sql.Identifier(name), sql.Identifier(setting)
                    )
                )

    with walk(warehouse, ACME) as lock:
        with psycopg.connect(urlsplit(warehouse.url).geturl(), autocommit=True) as other:
            other.execute("select pg_sleep(0.3)")
        lock.assert_held()


def test_a_run_that_lost_its_session_may_not_write(warehouse: Warehouse) -> None:
    """Another run may hold the lock by now."""
    with walk(warehouse, ACME) as lock:
        lock.assert_held()
        ((pid, *_),) = holders(warehouse)
        with warehouse.connect(autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s, 10000)", [pid])

        with pytest.raises(DatabaseUnavailable, match="acme: the session that held"):
            lock.assert_held()
        with pytest.raises(DatabaseUnavailable), lock.with_marts():
            pass


def test_the_same_tenant_of_another_database_is_not_ours(
    database_template: str, warehouse: Warehouse
) -> None:
    """Postgres shows the locks of the whole server; `status` said "running" for a neighbour."""
    with databases.copy_of(database_template) as url:
        other = Warehouse(url)
        with other.transaction() as connection:
            connection.execute("insert into integration.tenants (slug) values ('acme')")
        with walk(other, ACME):
            assert is_locked(other, ACME)
            assert not is_locked(warehouse, ACME)
            with walk(warehouse, ACME):
                pass


@ALL_LOCKS
def test_a_tenant_that_is_not_registered_has_no_lock(lock: Locking, warehouse: Warehouse) -> None:
    """A run without a fence could write into the next tenant of the same name."""
    stranger = Tenant("stranger")

    with pytest.raises(UnknownTenant), lock(warehouse, stranger):
        pass

    with warehouse.transaction() as connection:
        assert not connection.execute(
            "select from pg_class where relname like '%%stranger%%'"
        ).fetchall()


def test_the_locks_of_a_removed_tenant_are_dropped_and_come_back_with_it(
    control: ControlTables, warehouse: Warehouse
) -> None:
    with tenant_lock(warehouse, ACME) as lock:
        removal.remove(warehouse, ACME, is_erasing=True, who="a test")
        lock.drop()

    left = control.rows("select relname from pg_class where relname like 'raw/%%'")
    assert [row["relname"] for row in left] == []
    control.run("insert into integration.tenants (slug) values ('acme')")
    with walk(warehouse, ACME) as lock:
        lock.assert_held()


def test_a_run_that_waits_for_a_tenant_that_is_removed_gets_an_error(
    warehouse: Warehouse,
) -> None:
    refused: list[BaseException] = []
    is_waiting = threading.Event()

    def build() -> None:
        try:
            is_waiting.set()
            with build_lock(warehouse, ACME, wait_seconds=60):
                pass
        except UnknownTenant as error:
            refused.append(error)

    other = threading.Thread(target=build)
    with tenant_lock(warehouse, ACME) as lock:
        other.start()
        assert is_waiting.wait(30)
        removal.remove(warehouse, ACME, is_erasing=True, who="a test")
        lock.drop()
    other.join(60)

    assert [error.args for error in refused] == [UnknownTenant("acme").args]


def stumble_after_a_disconnect(warehouse: Warehouse) -> None:
    with warehouse.transaction() as connection:
        fences.end_all(connection, "acme")
    raise FileNotFoundError


def test_errors_of_a_superseded_run_are_superseded_and_others_stay(warehouse: Warehouse) -> None:
    """Which of the things that are gone it stumbles over first is chance."""
    with pytest.raises(FileNotFoundError), walk(warehouse, ACME):
        raise FileNotFoundError
    with pytest.raises(Superseded, match="acme: this run may not write"), walk(warehouse, ACME):
        stumble_after_a_disconnect(warehouse)


@pytest.fixture
def outsiders(warehouse: Warehouse) -> Iterator[dict[str, str]]:
    """Logins that are not the owner: of no role, of an analyst's, the app's, the engine's."""
    roles = {"nobody": None, "analyst": "analyst_acme", "app": "app", "engine": "engine"}
    with warehouse.connect(autocommit=True) as connection:
        connection.execute("select integration.ensure_role('analyst_acme')")
        for name, kind in roles.items():
            connection.execute(
                sql.SQL("create role {} login").format(sql.Identifier(f"outsider_{name}"))
            )
            if kind:
                connection.execute(
                    "select integration.grant_role(%s, %s)", [kind, f"outsider_{name}"]
                )
    parts = urlsplit(warehouse.url)
    urls = {}
    for name in roles:
        host = parts.netloc.rpartition("@")[2]
        urls[name] = parts._replace(netloc=f"outsider_{name}@{host}").geturl()
    yield urls
    with warehouse.connect(autocommit=True) as connection:
        for name in (f"outsider_{role}" for role in roles):
            connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.mark.parametrize("who", ["nobody", "analyst", "app", "engine"])
def test_no_other_login_can_hold_up_a_run_or_a_migration(
    who: str, outsiders: dict[str, str], warehouse: Warehouse
) -> None:
    """Advisory locks were free for all: one statement stopped a tenant, another the migrations."""
    with tenant_lock(warehouse, ACME):
        pass  # the locks exist
    names = [Scope(ACME, SYSTEM).raw_lock, ACME.marts_lock, locks.MIGRATION]

    with psycopg.connect(outsiders[who], autocommit=True) as attacker:
        attacker.execute("begin")
        for mode in ("access share", "share", "exclusive", "access exclusive"):
            for name in names:
                with pytest.raises(errors.InsufficientPrivilege), attacker.transaction():
                    attacker.execute(
                        sql.SQL("lock table {} in {} mode nowait").format(
                            sql.Identifier(locks.SCHEMA, name), sql.SQL(mode)
                        )
                    )
        with pytest.raises(errors.InsufficientPrivilege), attacker.transaction():
            attacker.execute(f'select * from {locks.SCHEMA}."{names[0]}"')
        with pytest.raises(errors.InsufficientPrivilege), attacker.transaction():
            attacker.execute(f'drop view {locks.SCHEMA}."{names[0]}"')
        with pytest.raises(errors.InsufficientPrivilege), attacker.transaction():
            attacker.execute(f'create view {locks.SCHEMA}."raw/beta/{SYSTEM}" as select 1')
        # Every advisory key that the server shows, and those of earlier releases.
        for key in (7_041_503_862_114_975_233, 7_041_503_862_114_975_234, *former_keys()):
            attacker.execute("select pg_advisory_lock(%s)", [key])

        with tenant_lock(warehouse, ACME) as lock:
            lock.assert_held()
        with warehouse.lock_session() as migration:
            locks.take(migration, locks.MIGRATION, wait_seconds=0)


def former_keys() -> list[int]:
    """The advisory keys that a tenant had."""
    import hashlib

    texts = [f"pipedrive-pipeline/tenant/{slug}" for slug in ("acme", "beta")]
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    return [int.from_bytes(digest[:8], "big", signed=True) for digest in digests]


def test_a_run_takes_no_lock_that_others_could_take(warehouse: Warehouse) -> None:
    """`pg_locks` shows every advisory key to every login."""
    with tenant_lock(warehouse, ACME), warehouse.transaction() as connection:
        advisory = connection.execute(
            "select count(*) from pg_locks where locktype = 'advisory'"
            " and database = (select oid from pg_database where datname = current_database())"
        ).fetchone()

    assert advisory == (0,)
