"""Migrations run once and in order, also with several processes at work."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg import sql
from psycopg.errors import LockNotAvailable

from pipedrive_pipeline.errors import DatabaseUnavailable
from pipedrive_pipeline.warehouse import locks, migrations
from pipedrive_pipeline.warehouse.database import Contended, Warehouse
from pipedrive_pipeline.warehouse.embedded import ensure_running
from pipedrive_pipeline.warehouse.migrations import (
    RoleTooWeak,
    SchemaBehind,
    head,
    is_current,
    migrate,
    require_current,
    schema_held,
)
from pipedrive_pipeline.warehouse.sql_files import function_files, schema_files
from pipedrive_pipeline_tests.folders import open_folder
from pipedrive_pipeline_tests.warehouse import databases
from pipedrive_pipeline_tests.warehouse.databases import as_role

NUMBERS = [file.number for file in schema_files()]
EVERYTHING = [*(file.name for file in function_files()), *NUMBERS]


def fingerprint(warehouse: Warehouse) -> list[tuple[object, ...]]:
    """Every relation, column, constraint and policy of ours."""
    with warehouse.transaction() as connection:
        return connection.execute(
            """
            select attrelid::regclass::text, attname, atttypid::regtype::text, xmin::text
            from pg_catalog.pg_attribute
            where attrelid in (
                select oid from pg_catalog.pg_class
                where relnamespace in ('integration'::regnamespace, 'crm'::regnamespace)
            )
            order by 1, 2
            """
        ).fetchall()


@pytest.mark.slow
def test_an_empty_database_gets_everything_once(empty: Warehouse) -> None:
    """The second run changes nothing at all, down to the catalogue's rows."""
    first = migrate(empty)
    created = fingerprint(empty)
    second = migrate(empty)

    assert (first, second) == (EVERYTHING, [])
    assert fingerprint(empty) == created
    assert is_current(empty)


def test_a_second_run_takes_no_lock(warehouse: Warehouse) -> None:
    """A start of any process asks; it must not wait for a sync."""
    with warehouse.lock_session() as sync:
        locks.take(sync, locks.MIGRATION, is_shared=True)
        applied = migrate(warehouse, wait_seconds=0)

    assert applied == []


def test_migrates_at_once_apply_once(empty: Warehouse) -> None:
    """Containers of a deployment start together."""
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(lambda _: migrate(empty), range(4)))

    assert sorted(applied) == [[], [], [], EVERYTHING]


@pytest.mark.slow
def test_databases_of_one_server_may_be_migrated_at_once(postgres: str) -> None:
    """Roles belong to the server: two databases make them in the same moment."""
    with (
        databases.database(postgres) as first,
        databases.database(postgres) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        applied = list(pool.map(lambda url: migrate(Warehouse(url)), (first, other)))

    assert applied == [EVERYTHING, EVERYTHING]


def test_an_ordinary_owner_who_may_create_roles_migrates_and_works(
    postgres: str, owner: str
) -> None:
    """No superuser is needed; the owner is under the policies and sees every tenant by role."""
    with databases.database(postgres, owner=owner) as url:
        warehouse = as_role(url, owner)
        applied = migrate(warehouse)
        with warehouse.transaction() as connection:
            connection.execute("insert into integration.tenants (slug) values ('acme')")
            slugs = connection.execute("select slug from integration.tenants").fetchall()
        with warehouse.as_app(databases.BRAVO) as connection:
            unseen = connection.execute("select slug from integration.tenants").fetchall()

    assert (applied, slugs, unseen) == (EVERYTHING, [("acme",)], [])


@pytest.mark.slow
def test_on_a_new_server_an_ordinary_owner_makes_the_roles_itself() -> None:
    """Since PostgreSQL 16 the maker of a role inherits nothing of it until it is granted."""
    folder = open_folder()
    server = ensure_running(folder / "home", system_folder=folder / "system")
    try:
        databases.administer(server.url, sql.SQL("create role test_first login createrole"))
        with databases.database(server.url, owner="test_first") as url:
            warehouse = as_role(url, "test_first")
            applied = migrate(warehouse)
            with warehouse.transaction() as connection:
                connection.execute("insert into integration.tenants (slug) values ('acme')")
            with warehouse.as_app(databases.ACME) as connection:
                slugs = connection.execute("select slug from integration.tenants").fetchall()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)

    assert (applied, slugs) == (EVERYTHING, [("acme",)])


@pytest.fixture
def weak(postgres: str) -> Iterator[str]:
    databases.administer(postgres, sql.SQL("create role test_weak login"))
    yield "test_weak"
    databases.administer(postgres, sql.SQL("drop role test_weak"))


def test_a_role_that_may_not_create_roles_gets_the_next_step(postgres: str, weak: str) -> None:
    """The message holds the statements that an administrator must run."""
    with databases.database(postgres, owner=weak) as url:
        with pytest.raises(RoleTooWeak) as refusal:
            migrate(as_role(url, weak))
        nothing_made = not is_current(as_role(url, weak))

        identity = databases.row(url, "select id from integration.installation")[0]

    roles = [f"pipeline_{kind}_{identity}" for kind in ("engine", "app", "reader")]
    assert f'grant {", ".join(roles)} to "{weak}"' in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert nothing_made


def test_a_login_that_may_not_read_our_tables_is_told_so(warehouse: Warehouse, weak: str) -> None:
    """An analyst's URL in DATABASE_URL was an unexpected error, to be reported."""
    analyst = as_role(warehouse.url, weak)

    for refused in (migrate, require_current):
        with pytest.raises(RoleTooWeak, match="the login that ran `migrate`"):
            refused(analyst)


@pytest.mark.slow
def test_migrate_waits_for_a_running_sync_and_says_so(empty: Warehouse) -> None:
    """A sync must not see tables change under it."""
    is_waiting = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        migrations.prepare(empty)
        with empty.lock_session() as sync:
            locks.take(sync, locks.MIGRATION, is_shared=True)
            running = pool.submit(migrate, empty, notify=lambda _: is_waiting.set())
            was_told = is_waiting.wait(30)
            was_waiting = not running.done()
        applied = running.result(30)

    assert was_told
    assert was_waiting
    assert applied == EVERYTHING


@pytest.mark.slow
def test_migrate_gives_up_when_a_sync_does_not_end(empty: Warehouse) -> None:
    """Bounded: an operator gets an answer."""
    migrations.prepare(empty)
    with empty.lock_session() as sync:
        locks.take(sync, locks.MIGRATION, is_shared=True)

        with pytest.raises(Contended):
            migrate(empty, notify=lambda _: None, wait_seconds=0)


def test_a_schema_behind_is_refused_with_the_next_step(empty: Warehouse) -> None:
    """A sync on yesterday's tables would fail in the middle."""
    with pytest.raises(SchemaBehind, match="run `migrate`"):
        require_current(empty)
    with pytest.raises(SchemaBehind), schema_held(empty):
        pass


def test_a_locked_schema_keeps_migrations_out(warehouse: Warehouse) -> None:
    """What a sync holds for its duration."""
    with schema_held(warehouse), warehouse.lock_session() as other, pytest.raises(LockNotAvailable):
        locks.take(other, locks.MIGRATION, wait_seconds=0)


def test_a_newer_schema_serves_an_older_release(warehouse: Warehouse) -> None:
    """A rolling deployment: new code migrated, old code still runs."""
    with warehouse.transaction() as connection:
        connection.execute("update integration.alembic_version set version_num = '9999'")

    require_current(warehouse)

    assert migrate(warehouse) == []


def test_schema_files_form_one_line() -> None:
    """Two files of one number would leave one of them out."""
    assert len(set(NUMBERS)) == len(NUMBERS)
    assert all(number.isdigit() and len(number) == 4 for number in NUMBERS)
    assert head() == max(NUMBERS)


def test_a_database_that_is_down_is_named_without_its_password() -> None:
    """The message goes to logs and terminals."""
    warehouse = Warehouse("postgresql://someone:hidden-word@127.0.0.1:1/nowhere")

    with pytest.raises(DatabaseUnavailable, match=r"nowhere on 127\.0\.0\.1:1") as refusal:
        is_current(warehouse)

    assert "hidden-word" not in str(refusal.value)
    assert "hidden-word" not in repr(warehouse)
