"""What an analyst sees."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from pipedrive_pipeline.marts import build, publish_views
from pipedrive_pipeline.marts.build import BuildRefused
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.sql_files import view_files
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization, person
from pipedrive_pipeline_tests.warehouse.databases import ACME, BRAVO

VIEWS = sorted(
    [
        *(file.name for file in view_files()),
        *(f"{mart.name}{ending}" for mart in MARTS for ending in ("", "_all")),
    ]
)


@pytest.fixture
def published(warehouse: Warehouse) -> Warehouse:
    """Both tenants with two customers, one deleted, and a contact each; views published."""
    for tenant in (ACME, BRAVO):
        raw = RawTables(warehouse, tenant)
        raw.load(
            organizations=[organization(1, name=f"of {tenant}"), organization(2)],
            persons=[person(1, org_id=1)],
        )
        raw.mark("organizations", 2)
        build(warehouse, Scope(tenant, SYSTEM))
        publish_views(warehouse, tenant)
    return warehouse


@pytest.fixture
def analyst(published: Warehouse) -> Iterator[psycopg.Connection]:
    """A session that may read acme's views and nothing else; no setting is made."""
    with published.transaction() as connection:
        connection.execute("create role test_analyst")
        connection.execute("grant usage on schema analytics_acme to test_analyst")
        connection.execute("grant select on all tables in schema analytics_acme to test_analyst")
        connection.execute("set local role test_analyst")
        yield connection
        connection.rollback()


@pytest.mark.slow
def test_live_rows_and_marked_rows_are_apart(analyst: psycopg.Connection) -> None:
    """`customers` is what is there, `customers_all` what ever was; one tenant's only."""
    live = analyst.execute("select name from analytics_acme.customers").fetchall()
    every = analyst.execute(
        "select deletion_reason from analytics_acme.customers_all order by pipedrive_id"
    ).fetchall()
    joined = analyst.execute(
        """
        select customers.name
        from analytics_acme.contacts as contacts
        inner join analytics_acme.customers as customers
            on customers.id = contacts.customer_id
        """
    ).fetchall()

    assert live == [("of acme",)]
    assert every == [(None,), ("deleted",)]
    assert joined == [("of acme",)]


@pytest.mark.slow
def test_an_analyst_reads_every_view(analyst: psycopg.Connection) -> None:
    """`sync_status` read a view that checks the rights of its reader: it refused every analyst."""
    for view in VIEWS:
        analyst.execute(f"select * from analytics_acme.{view}".encode())


@pytest.mark.slow
def test_the_status_that_an_analyst_sees_is_of_the_own_tenant(
    published: Warehouse, analyst: psycopg.Connection
) -> None:
    """A function reads it with the rights of its owner, who sees every tenant."""
    with published.transaction() as connection:
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
            select
                run.tenant_id, run.id, 'pipedrive', 'of ' || run.tenant_id, run.started_at, 'failed'
            from run
            """
        )

    seen = analyst.execute("select entity from analytics_acme.sync_status").fetchall()

    assert seen == [("of acme",)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "table",
    [
        "analytics_bravo.customers",
        "analytics_bravo.sync_status_rows()",
        "crm.customers",
        "integration.connections",
        "integration.sync_logs",
        "integration.runs",
        "integration.entity_status",
        "raw_pipedrive_acme.persons",
    ],
)
def test_an_analyst_reads_nothing_else(analyst: psycopg.Connection, table: str) -> None:
    """Views read with their owner's rights; the analyst has none below them."""
    with pytest.raises(errors.InsufficientPrivilege):
        analyst.execute(f"select * from {table}".encode())


@pytest.mark.slow
def test_a_function_of_the_analyst_sees_no_other_tenant(published: Warehouse) -> None:
    """A cheap function would run before the tenant's condition, were the view no barrier."""
    with published.transaction() as connection:
        connection.execute("create schema own")
        connection.execute("create table own.seen (name text)")
        connection.execute(
            """
            create function own.leak(name text) returns boolean language plpgsql cost 0.0000001 as
            'begin insert into own.seen values (leak.name); return true; end'
            """
        )
        # By the index Postgres would ask for the tenant first, barrier or not.
        connection.execute("set local enable_indexscan to off")
        connection.execute("set local enable_bitmapscan to off")
        connection.execute("select from analytics_acme.customers where own.leak(name)")
        names = connection.execute("select distinct seen.name from own.seen").fetchall()
        connection.rollback()

    assert names == [("of acme",)]


@pytest.mark.slow
def test_publishing_again_touches_nothing(published: Warehouse) -> None:
    """Every sync publishes; a reader must not notice, nor the catalogue grow."""
    with published.connect() as reader:
        reader.execute("select from analytics_acme.customers")  # holds the view until the end
        before = catalogue(published)
        publish_views(published, ACME)

        assert catalogue(published) == before


@pytest.mark.slow
def test_a_dropped_view_is_made_again(published: Warehouse) -> None:
    """By hand or by mistake: the next sync brings it back."""
    with published.transaction() as connection:
        connection.execute("drop view analytics_acme.contacts")

    publish_views(published, ACME)

    assert [row[0] for row in catalogue(published)] == VIEWS


@pytest.mark.slow
def test_a_column_that_somebody_dropped_is_named_with_the_next_step(published: Warehouse) -> None:
    """The run ended with `UndefinedColumn` alone, because nothing was to be built before."""
    with published.transaction() as connection:
        connection.execute("alter table crm.customers drop column website cascade")

    with pytest.raises(BuildRefused, match=r"make the views.*crm\.customers\.website.*`migrate`"):
        publish_views(published, ACME)


@pytest.mark.slow
def test_a_newer_definition_replaces_the_older(published: Warehouse) -> None:
    """In place: what an analyst built on a view stays."""
    with published.transaction() as connection:
        connection.execute("create view public.own as select id from analytics_acme.customers")
        connection.execute("update integration.mart_state set views_published = 'older'")
    before = catalogue(published)

    publish_views(published, ACME)

    after = catalogue(published)
    assert [row[:2] for row in after] == [row[:2] for row in before]
    assert after != before


def catalogue(warehouse: Warehouse) -> list[tuple[object, ...]]:
    with warehouse.transaction() as connection:
        return connection.execute(
            """
            select relname, oid, xmin::text
            from pg_catalog.pg_class
            where relnamespace = 'analytics_acme'::regnamespace and relkind = 'v'
            order by relname
            """
        ).fetchall()


@pytest.mark.slow
def test_every_view_and_column_has_a_comment(published: Warehouse) -> None:
    """In psql a view reads like a data dictionary."""
    with published.transaction() as connection:
        columns = connection.execute(
            """
            select
                pg_class.relname,
                pg_attribute.attname,
                obj_description(pg_class.oid, 'pg_class'),
                col_description(pg_class.oid, pg_attribute.attnum)
            from pg_catalog.pg_class
            inner join pg_catalog.pg_attribute
                on pg_attribute.attrelid = pg_class.oid
                and pg_attribute.attnum > 0
            where pg_class.relnamespace = 'analytics_acme'::regnamespace
                and pg_class.relkind = 'v'
            """
        ).fetchall()

    assert {view for view, *_ in columns} == set(VIEWS)
    assert [row for row in columns if not (row[2] and row[3])] == []


@pytest.mark.slow
def test_status_is_empty_before_the_first_complete_sync(published: Warehouse) -> None:
    """Rows are counted; what nobody knows yet is null, not zero."""
    with published.transaction() as connection:
        before = connection.execute("select from analytics_acme.sync_status").fetchall()
        connection.execute(
            """
            with run as (
                insert into integration.runs
                    (tenant_id, system, sync_type, trigger, status, completed_at)
                values ('acme', 'pipedrive', 'full', 'manual', 'failed', now())
                returning id, started_at
            ),
            entities as (
                insert into integration.run_entities
                    (tenant_id, run_id, system, entity, started_at, status)
                select 'acme', run.id, 'pipedrive', name, run.started_at, 'failed'
                from run
                cross join unnest(array['organizations', 'persons']) as name
            )
            insert into integration.run_marts (tenant_id, run_id, system, mart, entity)
            select 'acme', run.id, 'pipedrive', built.mart, built.entity
            from run
            cross join (values ('customers', 'organizations'), ('contacts', 'persons'))
                as built (mart, entity)
            """
        )
        status = connection.execute(
            """
            select entity, as_of, rows, missing, last_sweep_at, last_sweep_age
            from analytics_acme.sync_status
            order by entity
            """
        ).fetchall()

    assert before == []
    assert status == [
        ("organizations", None, 1, None, None, None),
        ("persons", None, 1, None, None, None),
    ]


@pytest.mark.slow
def test_status_says_up_to_when_and_how_complete(published: Warehouse) -> None:
    """From the newest run that committed each; a failed one moves nothing.

    Deletions are known up to the beginning of the look at all records, not up to its end.
    """
    with published.transaction() as connection:
        connection.execute(
            """
            with run as (
                insert into integration.runs
                    (tenant_id, system, sync_type, trigger, started_at, completed_at, status)
                values
                    ('acme', 'pipedrive', 'full', 'manual', '2026-02-01', '2026-02-01', 'success'),
                    ('acme', 'pipedrive', 'sweep', 'manual', '2026-02-02', '2026-02-02', 'partial'),
                    ('acme', 'pipedrive', 'full', 'manual', '2026-02-03', '2026-02-03', 'failed')
                returning id, started_at
            )
            insert into integration.run_entities (
                tenant_id, run_id, system, started_at, entity, status, watermark_after, missing,
                swept_at
            )
            select
                'acme', run.id, 'pipedrive', run.started_at, read.entity, read.status,
                read.watermark, read.missing, read.swept_at
            from (
                values
                    (
                        date '2026-02-01', 'organizations', 'complete', '2026-02-01T00:00:00Z', 0,
                        timestamptz '2026-01-31 22:00Z'
                    ),
                    (
                        '2026-02-01', 'persons', 'complete', '2026-02-01T00:00:00Z', 2,
                        '2026-01-30 00:00Z'
                    ),
                    (
                        '2026-02-02', 'organizations', 'complete', '2026-02-02T00:00:00Z', null,
                        null
                    ),
                    ('2026-02-02', 'persons', 'partial', null, 2, null),
                    (
                        '2026-02-03', 'organizations', 'complete', null, 0, '2026-02-03 00:00Z'
                    ),
                    ('2026-02-03', 'persons', 'complete', '2026-02-03T00:00:00Z', null, null)
            ) as read (started_on, entity, status, watermark, missing, swept_at)
            inner join run
                on run.started_at = read.started_on
            """
        )
        status = connection.execute(
            """
            select entity, as_of::date::text, missing, last_sweep_at::text, last_sweep_age > '0'
            from analytics_acme.sync_status
            order by entity
            """
        ).fetchall()

    assert status == [
        ("organizations", "2026-02-02", 0, "2026-01-31 22:00:00+00", True),
        ("persons", "2026-02-01", 2, "2026-01-30 00:00:00+00", True),
    ]
