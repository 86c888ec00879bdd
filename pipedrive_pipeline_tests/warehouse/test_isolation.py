"""The database itself separates tenants, for any query of the app."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.databases import become, role_name
from pipedrive_pipeline_tests.warehouse import databases
from pipedrive_pipeline_tests.warehouse.databases import ACME, BRAVO


def names(connection: psycopg.Connection) -> list[str]:
    names = connection.execute("select name from crm.customers order by name")
    return [row[0] for row in names]


@pytest.fixture(scope="module")
def warehouse(postgres: str, template: str) -> Iterator[Warehouse]:
    """One for all: these tests look, or fail to write."""
    with databases.database(postgres, template=template) as url:
        yield Warehouse(url)


@pytest.fixture(scope="module")
def two_customers(warehouse: Warehouse) -> Warehouse:
    with warehouse.transaction() as connection:
        connection.execute(
            """
            insert into crm.customers (tenant_id, system, remote_id, name)
            values ('acme', 'pipedrive', '1', 'of acme'), ('bravo', 'pipedrive', '1', 'of bravo')
            """
        )
    return warehouse


OUR_TABLES = """
    select pg_class.oid
    from pg_catalog.pg_class
    where pg_class.relnamespace in ('integration'::regnamespace, 'crm'::regnamespace)
        and pg_class.relkind in ('r', 'p', 'm')
        and pg_class.relname not in ('alembic_version', 'installation', 'function_files')
"""


def test_every_table_has_row_level_security_forced(warehouse: Warehouse) -> None:
    """A table that a later migration forgets would show every tenant to every key."""
    with warehouse.transaction() as connection:
        open_tables = connection.execute(
            f"""
            select pg_class.oid::regclass::text
            from pg_catalog.pg_class
            where pg_class.oid in ({OUR_TABLES})
                and not (pg_class.relrowsecurity and pg_class.relforcerowsecurity)
            """
        ).fetchall()

    assert open_tables == []


def test_every_table_has_a_policy_for_each_role_that_may_use_it(warehouse: Warehouse) -> None:
    """`engine` on all; `app`, bound to the tenant, where it has any right; readers on `crm`."""
    with warehouse.transaction() as connection:
        policies = connection.execute(
            f"""
            select
                pg_class.oid::regclass::text,
                has_any_column_privilege(
                    integration.role_name('app'), pg_class.oid, 'select, insert, update'
                ),
                array_agg(
                    format(
                        '%s %s to %s using %s check %s',
                        pg_policy.polname,
                        pg_policy.polcmd,
                        pg_policy.polroles::regrole[],
                        pg_get_expr(pg_policy.polqual, pg_policy.polrelid) ~ 'pipeline.tenant_id',
                        pg_get_expr(pg_policy.polwithcheck, pg_policy.polrelid)
                        ~ 'pipeline.tenant_id'
                    )
                    order by pg_policy.polname
                )
            from pg_catalog.pg_class
            left join pg_catalog.pg_policy
                on pg_policy.polrelid = pg_class.oid
            where pg_class.oid in ({OUR_TABLES})
            group by pg_class.oid
            """
        ).fetchall()

        roles = {kind: role_name(connection, kind) for kind in ("engine", "app", "reader")}

    engine = f"engine * to {{{roles['engine']}}} using f check f"
    app = f"app * to {{{roles['app']}}} using t check t"
    reader = f"reader r to {{{roles['reader']}}} using f check "
    expected = {
        table: [*([app] if used else []), engine, *([reader] if table.startswith("crm.") else [])]
        for table, used, _ in policies
    }
    assert {table: policy for table, _, policy in policies} == expected
    assert len(policies) >= 13


def test_every_table_names_its_tenant(warehouse: Warehouse) -> None:
    """A table without tenant_id could not be separated at all."""
    with warehouse.transaction() as connection:
        without = connection.execute(
            """
            select tables.table_name
            from information_schema.tables
            where tables.table_schema in ('integration', 'crm')
                and tables.table_name not in (
                    'alembic_version', 'installation', 'function_files', 'tenants', 'receiver'
                )
                and not exists (
                    select
                    from information_schema.columns
                    where columns.table_schema = tables.table_schema
                        and columns.table_name = tables.table_name
                        and columns.column_name = 'tenant_id'
                )
            """
        ).fetchall()

    assert without == []


def test_every_unique_key_holds_the_tenant_or_cannot_be_guessed(warehouse: Warehouse) -> None:
    """A duplicate key error tells a tenant that another one has the value."""
    with warehouse.transaction() as connection:
        guessable = connection.execute(
            """
            select
                pg_index.indexrelid::regclass::text
            from pg_catalog.pg_index
            inner join pg_catalog.pg_class
                on pg_class.oid = pg_index.indrelid
            where pg_class.relnamespace in ('integration'::regnamespace, 'crm'::regnamespace)
                and pg_index.indisunique
                -- What the app's role may insert into.
                and has_any_column_privilege(integration.role_name('app'), pg_class.oid, 'insert')
                and not exists (
                    select
                    from pg_catalog.pg_attribute
                    where pg_attribute.attrelid = pg_class.oid
                        and pg_attribute.attnum = any (pg_index.indkey)
                        and (
                            pg_attribute.attname in ('tenant_id', 'key_hash')
                            or pg_attribute.atttypid = 'uuid'::regtype
                            or pg_attribute.attidentity = 'a'
                        )
                )
            """
        ).fetchall()

    assert guessable == []


def test_the_app_sees_its_tenant_only(two_customers: Warehouse) -> None:
    """The app's own filter may be missing; the database's is not."""
    with two_customers.as_app(ACME) as connection:
        visible = names(connection)

    assert visible == ["of acme"]


def test_the_app_without_a_tenant_sees_nothing(two_customers: Warehouse) -> None:
    """It fails closed: neither an error nor everything."""
    with two_customers.transaction() as connection:
        become(connection, "app")
        visible = names(connection)

    assert visible == []


def test_the_tenant_is_forgotten_with_its_transaction(two_customers: Warehouse) -> None:
    """A setting made local once is '' afterwards, not null; it must still show nothing."""
    with two_customers.connect() as connection:
        with connection.transaction():
            become(connection, "app")
            connection.execute("select set_config('pipeline.tenant_id', 'acme', true)")
            within = names(connection)
        with connection.transaction():
            become(connection, "app")
            after = names(connection)

    assert (within, after) == (["of acme"], [])


@pytest.mark.parametrize(
    "statement",
    [
        "insert into integration.sync_settings (tenant_id, system) values ('bravo', 'pipedrive')",
        "insert into integration.audit_log (who, action, tenant_id) values ('x', 'y', 'bravo')",
        "insert into integration.audit_log (who, action) values ('x', 'y')",
    ],
)
def test_the_app_cannot_write_for_another_tenant(warehouse: Warehouse, statement: str) -> None:
    """Each policy has `with check` as well as `using`."""
    with pytest.raises(errors.InsufficientPrivilege), warehouse.as_app(ACME) as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "select access_token from integration.connections",
        "select connections.* from integration.connections",
        "update integration.connections set state = 'connected'",
        "truncate integration.field_mappings",
        "update integration.audit_log set who = 'nobody'",
        "delete from integration.audit_log",
        "delete from integration.api_keys",
        "update crm.customers set name = 'changed'",
        "copy crm.customers to '/dev/null'",
        "set local row_security = off; select name from crm.customers",
    ],
)
def test_the_app_lacks_the_right(two_customers: Warehouse, statement: str) -> None:
    """Tokens are the vault's, history is nobody's to change, policies do not cover truncate."""
    with pytest.raises(errors.InsufficientPrivilege), two_customers.as_app(ACME) as connection:
        connection.execute(statement.encode())


def test_the_app_reads_a_connection_without_its_tokens(warehouse: Warehouse) -> None:
    """Status pages need the state, not the secret."""
    with warehouse.transaction() as connection:
        connection.execute(
            """
            insert into integration.connections (tenant_id, system, kind)
            values ('acme', 'pipedrive', 'oauth'), ('bravo', 'pipedrive', 'oauth')
            """
        )
    with warehouse.as_app(ACME) as connection:
        rows = connection.execute("select tenant_id, state from integration.connections").fetchall()

    assert rows == [("acme", "pending")]


def test_the_apps_role_bypasses_nothing_and_owns_nothing(warehouse: Warehouse) -> None:
    """A superuser, an owner without `force`, or a role with `bypassrls` is under no policy."""
    with warehouse.transaction() as connection:
        role = connection.execute(
            """
            select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin
            from pg_catalog.pg_roles where rolname = integration.role_name('app')
            """
        ).fetchone()
        owned = connection.execute(
            "select count(*) from pg_catalog.pg_class"
            " where relowner = integration.role_name('app')::regrole"
        ).fetchone()
        memberships = connection.execute(
            "select count(*) from pg_catalog.pg_auth_members"
            " where member = integration.role_name('app')::regrole"
        ).fetchone()

    assert role == (False,) * 5
    assert (owned, memberships) == ((0,), (0,))


def test_the_app_may_look_through_no_view_of_the_owners(warehouse: Warehouse) -> None:
    """A view shows what its owner sees, unless it is the invoker's; a materialized one all rows."""
    with warehouse.transaction() as connection:
        shown = connection.execute(
            """
            select pg_class.oid::regclass::text
            from pg_catalog.pg_class
            inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
            where pg_class.relkind in ('v', 'm')
                and not coalesce(pg_class.reloptions @> '{security_invoker=true}', false)
                and pg_namespace.nspname not in ('pg_catalog', 'information_schema')
                and has_schema_privilege(integration.role_name('app'), pg_namespace.oid, 'usage')
                and has_any_column_privilege(integration.role_name('app'), pg_class.oid, 'select')
            """
        ).fetchall()

    assert shown == []


@pytest.mark.parametrize("view", ["sync_logs", "entity_status"])
def test_a_view_of_the_control_tables_shows_the_app_its_tenant_only(
    two_customers: Warehouse, view: str
) -> None:
    """They read with the rights of whoever asks: the policies of the tables below apply."""
    with two_customers.transaction() as connection:
        connection.execute(
            """
            with run as (
                insert into integration.runs (tenant_id, system, sync_type, trigger)
                values
                    ('acme', 'pipedrive', 'full', 'manual'),
                    ('bravo', 'pipedrive', 'full', 'manual')
                returning tenant_id, id, started_at
            )
            insert into integration.run_entities
                (tenant_id, run_id, system, entity, started_at, status)
            select tenant_id, id, 'pipedrive', 'persons', started_at, 'complete'
            from run
            """
        )
        every = connection.execute(f"select tenant_id from integration.{view}".encode()).fetchall()
    with two_customers.as_app(ACME) as connection:
        seen = connection.execute(f"select tenant_id from integration.{view}".encode()).fetchall()

    assert {slug for (slug,) in every} == {"acme", "bravo"}
    assert {slug for (slug,) in seen} == {"acme"}


def test_a_tenant_that_is_changed_midway_is_the_transactions_own_matter(
    two_customers: Warehouse,
) -> None:
    """What one request sets never reaches the next on the same connection of a pool."""
    from pipedrive_pipeline.warehouse.pool import pooled

    warehouse = pooled(two_customers)
    with warehouse.pool:
        warehouse.pool.wait()  # a caller before the first connection is there makes another
        outcomes = []
        for tenant in (ACME, BRAVO, ACME):
            with warehouse.as_app(tenant) as connection:
                outcomes.append(names(connection))
        with warehouse.connect() as connection:
            left = connection.execute(
                "select current_setting('pipeline.tenant_id', true), current_user = session_user"
            ).fetchone()

    assert outcomes == [["of acme"], ["of bravo"], ["of acme"]]
    assert left == ("", True)


def test_an_owner_is_under_its_own_policies(two_customers: Warehouse) -> None:
    """Forced: not even the table's owner sees a row, unless it is the engine."""
    with two_customers.transaction() as connection:
        connection.execute("create role test_stranger")
        connection.execute("grant usage, create on schema crm to test_stranger")
        connection.execute("alter table crm.customers owner to test_stranger")
        connection.execute("set local role test_stranger")
        visible = names(connection)
        connection.rollback()

    assert visible == []


def test_a_tenant_with_customers_is_not_removed_by_accident(two_customers: Warehouse) -> None:
    """Erasing is an act of its own."""
    with (
        pytest.raises((errors.RestrictViolation, errors.ForeignKeyViolation)),
        two_customers.transaction() as connection,
    ):
        connection.execute("delete from integration.tenants where slug = 'bravo'")


def test_a_contact_cannot_link_to_another_tenants_customer(two_customers: Warehouse) -> None:
    """The foreign key carries the tenant."""
    with pytest.raises(errors.ForeignKeyViolation), two_customers.transaction(BRAVO) as connection:
        connection.execute(
            """
            insert into crm.contacts (tenant_id, customer_id)
            select 'bravo', id from crm.customers where tenant_id = 'acme'
            """
        )
