"""What the roles of analysts may read, and what they may not."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.databases import become
from pipedrive_pipeline_tests.marts.fields import custom, key_of, published
from pipedrive_pipeline_tests.marts.raw_tables import RawTables, organization, user
from pipedrive_pipeline_tests.warehouse.databases import ACME, BRAVO


def with_fields(warehouse: Warehouse, tenant: Tenant) -> None:
    """One customer with fields whose columns look things up elsewhere."""
    raw = RawTables(warehouse, tenant)
    values = {key_of("Zone"): 7, key_of("Betreuer"): 5, key_of("Start"): "2026-01-31"}
    raw.load(
        organization_fields=[
            custom("Zone", "enum", {7: "Nord"}),
            custom("Betreuer", "user"),
            custom("Start", "date"),
        ],
        users=[user(5, "Ada")],
        organizations=[organization(1, custom_fields=values)],
    )
    published(raw, tenant)


@pytest.fixture
def session(warehouse: Warehouse) -> Iterator[psycopg.Connection]:
    """A session that takes on a role; both tenants are published."""
    with_fields(warehouse, ACME)
    with_fields(warehouse, BRAVO)
    with warehouse.transaction() as connection:
        yield connection
        connection.rollback()


@pytest.mark.slow
def test_an_analyst_reads_the_views_of_their_tenant(session: psycopg.Connection) -> None:
    """Labels, names and conversions work without a right to what lies below."""
    become(session, "analyst_acme")

    row = session.execute(
        "select zone, betreuer, start::text from analytics_acme.customers"
    ).fetchone()

    assert row == ("Nord", "Ada", "2026-01-31")
    assert session.execute("select from analytics_acme.column_changes").fetchall()


@pytest.mark.slow
@pytest.mark.parametrize(
    "table",
    [
        "analytics_bravo.customers",
        "raw_pipedrive_acme.organizations",
        "integration.fields",
        "integration.field_mappings",
        "integration.rejected_values",
        "crm.customers",
    ],
)
def test_an_analyst_of_one_tenant_reads_nothing_else(
    session: psycopg.Connection, table: str
) -> None:
    """Another tenant's views, raw, and our own tables are closed."""
    become(session, "analyst_acme")

    with pytest.raises(errors.InsufficientPrivilege):
        session.execute(f"select from {table}".encode())


@pytest.mark.slow
def test_an_analyst_writes_nothing(session: psycopg.Connection) -> None:
    """Read-only, though Postgres can write through simple views."""
    rights = session.execute(
        """
        select bool_or(has_table_privilege(role, pg_class.oid, 'insert, update, delete, truncate'))
        from pg_catalog.pg_class
        cross join unnest(array[
            integration.role_name('analyst_acme'), integration.role_name('analyst_all')
        ]) as role
        where pg_class.relnamespace = 'analytics_acme'::regnamespace
            and pg_class.relkind = 'v'
        """
    ).fetchone()

    assert rights == (False,)


@pytest.mark.slow
def test_the_analyst_of_all_reads_every_tenant(session: psycopg.Connection) -> None:
    """And still neither raw nor our own tables."""
    become(session, "analyst_all")

    for tenant in ("acme", "bravo"):
        query = f"select zone from analytics_{tenant}.customers_all".encode()
        assert session.execute(query).fetchall() == [("Nord",)]
    with pytest.raises(errors.InsufficientPrivilege):
        session.execute("select from raw_pipedrive_acme.organizations")
