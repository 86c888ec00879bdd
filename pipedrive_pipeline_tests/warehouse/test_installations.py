"""Installations on one server, and copies of a database, reach only their own rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors, sql

from pipedrive_pipeline.settings import PROJECT_ROOT, Settings
from pipedrive_pipeline.vault.exports import keep_fresh, listed
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.migrations import (
    EarlierRelease,
    RoleTooWeak,
    SchemaBehind,
    head,
    is_current,
    migrate,
    require_current,
)
from pipedrive_pipeline_tests.databases import become, role_name
from pipedrive_pipeline_tests.warehouse import databases
from pipedrive_pipeline_tests.warehouse.databases import ACME

READ = "select name from crm.customers"
WRITE = "insert into integration.tenants (slug) values ('intruder')"
OWNERS = ("test_first_owner", "test_second_owner")


def at(url: str, user: str) -> str:
    """The same database as another role; the servers of these tests ask for no password."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{user}:x@{parts.netloc.rpartition('@')[2]}").geturl()


@contextmanager
def installation(server: str, owner: str | None = None) -> Iterator[Warehouse]:
    """A migrated database with one customer of acme."""
    with databases.database(server, owner=owner) as url:
        warehouse = Warehouse(at(url, owner) if owner else url)
        migrate(warehouse)
        with warehouse.transaction() as connection:
            connection.execute("insert into integration.tenants (slug) values ('acme')")
            connection.execute("insert into crm.customers (tenant_id, name) values ('acme', 'Ada')")
        yield warehouse


@contextmanager
def copy_of(server: str, original: Warehouse, owner: str | None = None) -> Iterator[Warehouse]:
    """A copy as `create database … template` makes it."""
    name = f"copy_of_{urlsplit(original.url).path[1:]}"
    statement = sql.SQL("create database {} template {}").format(
        sql.Identifier(name), sql.Identifier(urlsplit(original.url).path[1:])
    )
    if owner:
        statement += sql.SQL(" owner {}").format(sql.Identifier(owner))
    databases.administer(server, statement)
    yield Warehouse(urlsplit(original.url)._replace(path=f"/{name}").geturl())
    databases.administer(
        server, sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
    )


@pytest.fixture
def owners(postgres: str) -> Iterator[tuple[str, str]]:
    """Two ordinary roles that may create roles."""
    for name in OWNERS:
        databases.administer(
            postgres, sql.SQL("create role {} login createrole").format(sql.Identifier(name))
        )
    yield OWNERS
    for name in OWNERS:
        databases.administer(postgres, sql.SQL("drop owned by {}").format(sql.Identifier(name)))
        databases.administer(postgres, sql.SQL("drop role {}").format(sql.Identifier(name)))


def names_of_roles(warehouse: Warehouse) -> tuple[str, str]:
    with warehouse.connect() as connection:
        return role_name(connection, "engine"), role_name(connection, "app")


def refusals(warehouse: Warehouse, role: str) -> list[type[Exception]]:
    """How reading and writing ends for a role, in this database."""
    ended: list[type[Exception]] = []
    for statement in (READ, WRITE):
        with warehouse.connect() as connection:
            connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
            connection.execute("select set_config('pipeline.tenant_id', 'acme', true)")
            try:
                connection.execute(statement.encode())
            except errors.InsufficientPrivilege as error:
                ended.append(type(error))
            connection.rollback()
    return ended


DENIED = [errors.InsufficientPrivilege] * 2


@pytest.mark.slow
def test_roles_of_one_installation_have_no_right_in_another(postgres: str) -> None:
    """With the same roles, the engine of the second read and wrote the tenants of the first."""
    with installation(postgres) as first, installation(postgres) as second:
        mine, other = names_of_roles(first), names_of_roles(second)

        assert not {*mine} & {*other}
        for warehouse, strangers in ((first, other), (second, mine)):
            assert [refusals(warehouse, role) for role in strangers] == [DENIED, DENIED]
            with warehouse.as_app(ACME) as connection:
                assert connection.execute(READ.encode()).fetchall() == [("Ada",)]


@pytest.mark.slow
def test_an_owner_without_superuser_reaches_no_other_installation(
    postgres: str, owners: tuple[str, str]
) -> None:
    """Both may create roles; each is a member of the roles of its own installation only."""
    with (
        installation(postgres, owners[0]) as first,
        installation(postgres, owners[1]) as second,
    ):
        for warehouse, stranger in ((first, owners[1]), (second, owners[0])):
            for statement in (READ, WRITE):
                with (
                    psycopg.connect(at(warehouse.url, stranger)) as connection,
                    pytest.raises(errors.InsufficientPrivilege),
                ):
                    connection.execute(statement.encode())


def with_analysts(warehouse: Warehouse) -> None:
    """A view of acme's analysts, and a login that reads it."""
    with warehouse.transaction() as connection:
        connection.execute("create schema analytics_acme")
        connection.execute("create view analytics_acme.numbers as select 1 as number")
        connection.execute("select integration.ensure_role('analyst_acme')")
        role = sql.Identifier(role_name(connection, "analyst_acme"))
        connection.execute("create procedure analytics_acme.note() language sql as ''")
        for right in (
            "usage on schema analytics_acme",
            "select on analytics_acme.numbers",
            "execute on procedure analytics_acme.note()",
        ):
            connection.execute(sql.SQL("grant {} to {}").format(sql.SQL(right), role))
        connection.execute("create role test_reader login")
        connection.execute("select integration.grant_role('analyst_acme', 'test_reader')")


@pytest.mark.slow
def test_a_copied_database_gets_roles_of_its_own(postgres: str) -> None:
    """A copy keeps the grants of its source: the roles of one would read the rows of the other."""
    with installation(postgres) as original:
        with_analysts(original)
        former = names_of_roles(original)
        told: list[str] = []
        with copy_of(postgres, original) as copy:
            with pytest.raises(SchemaBehind, match="run `migrate`"):
                require_current(copy)
            applied = migrate(copy, notify=told.append)
            again = migrate(copy)
            own = names_of_roles(copy)
            require_current(copy)

            assert (applied, again) == (["roles"], [])
            assert not {*former} & {*own}
            assert [refusals(copy, role) for role in former] == [DENIED, DENIED]
            assert [refusals(original, role) for role in own] == [DENIED, DENIED]
            with copy.as_app(ACME) as connection:
                assert connection.execute(READ.encode()).fetchall() == [("Ada",)]
            with copy.transaction() as connection:
                become(connection, "analyst_acme")
                assert connection.execute("select * from analytics_acme.numbers").fetchall()
            with (
                psycopg.connect(at(copy.url, "test_reader")) as connection,
                pytest.raises(errors.InsufficientPrivilege),
            ):
                connection.execute("select * from analytics_acme.numbers")
        assert names_of_roles(original) == former
        require_current(original)
        with psycopg.connect(at(original.url, "test_reader")) as connection:
            assert connection.execute("select * from analytics_acme.numbers").fetchall()
    databases.administer(postgres, sql.SQL("drop role test_reader"))

    (line,) = told
    assert "select integration.grant_role('analyst_acme', 'test_reader');" in line


EXPORTED = """
create table public.lead_pipedrive_integrations (
    tenant_id uuid, access_token text, expires_at timestamptz
);
insert into public.lead_pipedrive_integrations
values ('11111111-2222-4333-8444-555555555555', 'secret', now() + interval '1 minute');
insert into integration.connections (
    tenant_id, system, kind, state, access_token, api_domain, token_expires_at
)
values ('acme', 'pipedrive', 'oauth', 'connected', 'x', 'https://acme.pipedrive.com',
    now() + interval '1 minute');
insert into integration.token_exports
    (tenant_id, system, table_schema, table_name, external_id, started_by)
values ('acme', 'pipedrive', 'public', 'lead_pipedrive_integrations',
    '11111111-2222-4333-8444-555555555555', 'a test')
"""


@pytest.mark.slow
def test_a_copied_database_renews_no_exported_token(postgres: str) -> None:
    """Two installations that refresh one grant lose it; a copy's readers get no token either."""
    exported = "select access_token from public.lead_pipedrive_integrations"
    with installation(postgres) as original:
        with original.transaction() as connection:
            connection.execute(EXPORTED.encode())
        with copy_of(postgres, original) as copy:
            vault = Vault(copy, Settings(_env_file=None))
            with pytest.raises(SchemaBehind, match="is a copy"):
                keep_fresh(vault)
            migrate(copy)

            failed = keep_fresh(vault)

            assert (failed, listed(vault)) == ({}, [])
            with copy.connect() as connection:
                assert connection.execute(exported.encode()).fetchall() == []
        with original.connect() as connection:
            assert connection.execute(exported.encode()).fetchall() == [("secret",)]


OUTSIDE = """
insert into integration.app_webhooks
    (id, tenant_id, url, event_types, secret, created_by, state)
values
    (gen_random_uuid(), 'acme', 'https://a.example', array['*'], 'x', 'a test', 'active'),
    (gen_random_uuid(), 'acme', 'https://b.example', array['*'], 'x', 'a test', 'paused');
insert into integration.webhooks
    (tenant_id, system, state, app_url, token_hash, password_hash, remote_id)
values ('acme', 'pipedrive', 'live', 'https://crm.example', 'x', 'x', '7');
insert into integration.outbox
    (tenant_id, system, mart, verb, request_hash, requested_by, is_async, state, first_sent_at)
values
    ('acme', 'pipedrive', 'deals', 'create', 'x', 'a test', true, 'intended', null),
    ('acme', 'pipedrive', 'leads', 'create', 'x', 'a test', true, 'sending', now()),
    ('acme', 'pipedrive', 'notes', 'create', 'x', 'a test', false, 'sending', now())
"""


def outside(warehouse: Warehouse) -> list[list[tuple[object, ...]]]:
    """Webhooks of apps, webhooks of the CRM, and the writes that wait."""
    queries = (
        "select state, state_reason from integration.app_webhooks order by url",
        "select remote_id from integration.webhooks",
        "select mart, state, answer ->> 'code' from integration.outbox order by mart",
    )
    with warehouse.connect() as connection:
        return [connection.execute(query.encode()).fetchall() for query in queries]


@pytest.mark.slow
@pytest.mark.parametrize("is_beside", [True, False], ids=["beside the original", "elsewhere"])
def test_a_copied_database_leaves_the_outside_to_the_original(
    postgres: str, *, is_beside: bool
) -> None:
    """It told the same receivers, deleted the original's webhook, and would have written again."""
    told: list[str] = []
    with installation(postgres) as original:
        with original.transaction() as connection:
            connection.execute(OUTSIDE.encode())
        before = outside(original)
        with copy_of(postgres, original) if is_beside else nullcontext(original) as copy:
            with copy.transaction() as connection:
                connection.execute(
                    "update integration.installation set database_identity = 'other'"
                )
            migrate(copy, notify=told.append)

            after = outside(copy)
        if is_beside:
            assert outside(original) == before

    assert after == [
        [("paused", "database_copied"), ("paused", None)],
        [],
        [
            ("deals", "conflict", "record_moved"),
            ("leads", "conflict", "record_moved"),
            ("notes", "sending", None),
        ],
    ]
    assert [line.partition(" ")[0] for line in told] == ["1", "2"]


@pytest.mark.slow
def test_the_only_database_of_its_roles_keeps_them(postgres: str) -> None:
    """A database restored in the place of the original: logins stay members."""
    with databases.database(postgres) as place, installation(postgres) as original:
        former = names_of_roles(original)
        name = urlsplit(place).path[1:]
        databases.administer(postgres, sql.SQL("drop database {}").format(sql.Identifier(name)))
        databases.administer(
            postgres,
            sql.SQL("alter database {} rename to {}").format(
                sql.Identifier(urlsplit(original.url).path[1:]), sql.Identifier(name)
            ),
        )
        moved = Warehouse(place)
        with moved.transaction() as connection:
            connection.execute("update integration.installation set database_identity = 'former'")

        applied = migrate(moved)

        assert (applied, names_of_roles(moved)) == (["roles"], former)
        databases.administer(
            postgres,
            sql.SQL("create database {}").format(sql.Identifier(urlsplit(original.url).path[1:])),
        )


@pytest.mark.slow
def test_an_owner_who_may_not_create_roles_is_told_which(
    postgres: str, owners: tuple[str, str]
) -> None:
    """The administrator makes the roles that the message names; the same `migrate` then works."""
    owner = owners[0]
    with installation(postgres, owner) as original, copy_of(postgres, original, owner) as copy:
        databases.administer(postgres, sql.SQL("alter role test_first_owner nocreaterole"))
        with pytest.raises(RoleTooWeak) as refusal:
            migrate(copy)
        former = names_of_roles(copy)
        steps = str(refusal.value).partition("run once: ")[2].partition("; then run")[0]
        for step in steps.split("; "):
            databases.administer(postgres, sql.SQL(step))

        assert former == names_of_roles(original)
        assert migrate(copy) == ["roles"]
        assert names_of_roles(copy) != former


def test_a_database_of_the_earlier_release_is_refused_and_left_as_it_is(empty: Warehouse) -> None:
    """Its revisions have the numbers of ours: without this check they would count as newer."""
    with empty.transaction() as connection:
        connection.execute("create schema integration")
        connection.execute("create table integration.alembic_version (version_num text)")
        connection.execute("insert into integration.alembic_version values ('0105')")

    for refused in (migrate, require_current, is_current):
        with pytest.raises(EarlierRelease, match=r"0105.*createdb.*PIPELINE_HOME") as refusal:
            refused(empty)
    with empty.connect() as connection:
        tables = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'integration'"
        ).fetchall()

    assert refusal.value.exit_code == 4
    assert tables == [("alembic_version",)]
    assert head() < "0105"


@pytest.mark.slow
def test_a_function_whose_text_changed_is_applied_again(warehouse: Warehouse) -> None:
    """An edit of a file is enough; a database that a newer text serves runs an older release."""
    with warehouse.transaction() as connection:
        connection.execute(
            "create or replace function pipeline.as_boolean(value jsonb) returns boolean"
            " language sql immutable as 'select false'"
        )
        connection.execute(
            "insert into integration.function_files (name, text_hash) values ('conversions', 'x')"
        )

    require_current(warehouse)
    assert not is_current(warehouse)
    assert migrate(warehouse) == ["conversions"]
    assert migrate(warehouse) == []
    with warehouse.connect() as connection:
        row = connection.execute("select pipeline.as_boolean('true')").fetchone()
    assert row == (True,)


def test_a_text_that_was_never_applied_is_refused(warehouse: Warehouse) -> None:
    """A release that needs a newer function would fail in the middle of a run."""
    with warehouse.transaction() as connection:
        connection.execute("update integration.function_files set text_hash = 'x'")

    with pytest.raises(SchemaBehind, match="run `migrate`"):
        require_current(warehouse)


def test_nothing_stored_depends_on_a_function_that_may_change(warehouse: Warehouse) -> None:
    """A generated column, an index or a check would keep the results of the former text."""
    with warehouse.connect() as connection:
        used = connection.execute(
            """
            select distinct pg_proc.pronamespace::regnamespace::text || '.' || pg_proc.proname
            from pg_catalog.pg_depend
            inner join pg_catalog.pg_proc
                on pg_proc.oid = pg_depend.refobjid
            where pg_depend.refclassid = 'pg_proc'::regclass
                and pg_proc.pronamespace in ('integration'::regnamespace, 'pipeline'::regnamespace)
                and (
                    pg_depend.classid in ('pg_attrdef'::regclass, 'pg_constraint'::regclass)
                    or pg_depend.classid = 'pg_class'::regclass
                )
            """
        ).fetchall()

    # A function of a schema file changes by a migration only, which renews what is stored.
    changeable = {
        name
        for file in (PROJECT_ROOT / "sql" / "functions").glob("*.sql")
        for name in re.findall(r"create or replace function ([\w.]+)", file.read_text())
    }
    assert len(changeable) > 10
    assert {name for (name,) in used} & changeable == set()
