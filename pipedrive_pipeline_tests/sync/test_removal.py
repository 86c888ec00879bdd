"""A tenant forgotten: everything of it, and nothing of another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg import sql
from pydantic import SecretStr

from pipedrive_pipeline.errors import BadInput, UnknownTenant
from pipedrive_pipeline.marts.views.access import grant_to_analysts
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.tenancy import registry, removal
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline_tests.databases import role_name
from pipedrive_pipeline_tests.sync.conftest import ACME, BETA, SYSTEM, ControlTables

ROWS = removal._ROWS_OF_A_TENANT
KEYS = (SecretStr(Fernet.generate_key().decode()),)
NEIGHBOUR = Tenant("beta")


def fill(control: ControlTables, tenant: Tenant) -> None:
    """Something of this tenant in every place that is made by hand here."""
    with control.warehouse.transaction() as connection:
        for schema in (
            Scope(tenant, SYSTEM).raw_schema,
            Scope(tenant, SYSTEM).staging_schema,
            tenant.analytics_schema,
        ):
            name = sql.Identifier(schema)
            connection.execute(sql.SQL("create schema {}").format(name))
            connection.execute(sql.SQL("create table {}.t as select 1 as x").format(name))
        for table in ("customers", "contacts"):
            connection.execute(
                sql.SQL(
                    "insert into crm.{} (tenant_id, system, remote_id, name)"
                    " values (%s, 'pipedrive', '1', 'x')"
                ).format(sql.Identifier(table)),
                [tenant.slug],
            )
    control.begin(tenant).complete()
    control.ask(tenant)


def row_counts(control: ControlTables, tenant: Tenant) -> dict[str, int]:
    """Rows of this tenant, by table, over the whole catalog; the audit log aside."""
    tables = control.rows(
        "select table_schema as schema, table_name as name from information_schema.columns"
        " join information_schema.tables using (table_schema, table_name)"
        " where column_name = 'tenant_id' and table_type = 'BASE TABLE'"
        " and table_schema in ('crm', 'integration') and table_name <> 'audit_log'"
    )
    counts: dict[str, int] = {}
    for table in tables:
        (row,) = control.rows(
            f"select count(*) as n from {table['schema']}.{table['name']} where tenant_id = %s",
            [tenant.slug],
        )
        counts[table["name"]] = row["n"]
    return counts


def schemas(control: ControlTables) -> list[Any]:
    rows = control.rows("select nspname as name from pg_namespace order by 1")
    return [row["name"] for row in rows if row["name"].rsplit("_", 1)[-1] in ("acme", "beta")]


@pytest.mark.slow
def test_erasing_drops_everything_of_a_tenant_and_nothing_of_another(
    control: ControlTables,
) -> None:
    fill(control, ACME)
    fill(control, BETA)
    before = row_counts(control, BETA)

    removal.remove(control.warehouse, ACME, is_erasing=True, who="a test")

    assert not any(row_counts(control, ACME).values())
    assert row_counts(control, BETA) == before
    assert before["customers"] == before["runs"] == before["connections"] == 1
    assert all(name.endswith("beta") for name in schemas(control))
    assert len(schemas(control)) == 3
    with pytest.raises(UnknownTenant):
        registry.known(control.warehouse, ACME)


@pytest.mark.slow
def test_a_tenant_with_data_is_not_removed_by_accident(control: ControlTables) -> None:
    fill(control, ACME)
    before = row_counts(control, ACME)

    with pytest.raises(BadInput, match="--erase"):
        removal.remove(control.warehouse, ACME, is_erasing=False, who="a test")

    assert row_counts(control, ACME) == before


def test_a_tenant_without_data_is_removed_and_the_log_says_by_whom(control: ControlTables) -> None:
    removal.remove(control.warehouse, ACME, is_erasing=False, who="Erika")

    (entry,) = control.rows(
        "select who, action, subject from integration.audit_log where action = 'tenant.remove'"
    )
    assert entry == {"who": "Erika", "action": "tenant.remove", "subject": "acme"}
    assert [row.tenant for row in registry.all_tenants(control.warehouse)] == [BETA]


def test_a_removed_tenant_may_be_added_again(control: ControlTables) -> None:
    fill(control, ACME)
    removal.remove(control.warehouse, ACME, is_erasing=True, who="a test")

    control.run("insert into integration.tenants (slug) values ('acme')")

    assert registry.known(control.warehouse, ACME).connections == {}


def roles(control: ControlTables) -> set[str]:
    """The kinds of the analysts' roles of these tests that exist."""
    rows = control.rows(
        """
        select kind as name
        from unnest(array['analyst_role_test_gone', 'analyst_role_test_needed']) as kind
        where to_regrole(integration.role_name(kind)) is not null
        """
    )
    return {row["name"] for row in rows}


def test_the_role_of_a_tenants_analysts_goes_with_it_unless_it_is_needed_still(
    control: ControlTables,
) -> None:
    """A tenant of the same name, added later, would be read by the former one's analysts."""
    gone, needed = Tenant("role_test_gone"), Tenant("role_test_needed")
    for tenant in (gone, needed):
        registry.add(control.warehouse, Settings(), tenant)
        fill(control, tenant)
        with control.warehouse.transaction() as connection:
            grant_to_analysts(connection, tenant)
    with control.warehouse.connect() as connection:
        name = role_name(connection, "analyst_role_test_needed")
    control.run(f"grant usage on schema public to {name}")
    assert roles(control) == {"analyst_role_test_gone", "analyst_role_test_needed"}

    for tenant in (gone, needed):
        removal.remove(control.warehouse, tenant, is_erasing=True, who="a test")

    assert roles(control) == {"analyst_role_test_needed"}
    control.run(f"drop owned by {name}")
    control.run(f"drop role {name}")


TRIGGER = """
create function public.own() returns trigger language plpgsql as $$ begin {body}; end $$;
create trigger own_trigger before delete on crm.contacts
for each row execute function public.own()
"""
ORDERS = """
create table public.orders (customer_id uuid references crm.customers (id) {more});
insert into public.orders select id from crm.customers where tenant_id = 'acme'
"""
OBSTACLES = {
    "a foreign key": (
        ORDERS.format(more=""),
        r"public\.orders refers to its rows \(orders_customer_id_fkey\)",
    ),
    "a foreign key that is checked at the end": (
        ORDERS.format(more="deferrable initially deferred"),
        r"public\.orders refers to its rows",
    ),
    "a view over raw": (
        "create view public.report as select * from raw_pipedrive_acme.t",
        r"view public\.report depends on table raw_pipedrive_acme\.t",
    ),
    "a view over ours": (
        "create view public.report as select * from analytics_acme.v",
        r"view public\.report depends on view analytics_acme\.v",
    ),
    "a function in a schema of ours": (
        "create function raw_pipedrive_acme.own() returns int language sql as 'select 1'",
        r"function raw_pipedrive_acme\.own\(\) depends on schema raw_pipedrive_acme",
    ),
    "a trigger that refuses": (
        TRIGGER.format(body="raise exception 'a name'"),
        r"the trigger own_trigger on crm\.contacts refuses it \(SQLSTATE P0001\)",
    ),
    "a trigger that swallows": (
        TRIGGER.format(body="return null"),
        r"the trigger own_trigger on crm\.contacts keeps rows",
    ),
    "a rule": (
        "create rule own_rule as on delete to crm.contacts do instead nothing",
        r"the rule own_rule on crm\.contacts keeps rows",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("statements", "named"), OBSTACLES.values(), ids=OBSTACLES)
def test_what_is_in_the_way_of_an_erasure_is_named_before_anything_is_changed(
    statements: str, named: str, control: ControlTables
) -> None:
    """The tenant was disconnected first; then it ended as `unexpected`, or the app's view went."""
    fill(control, ACME)
    control.run("create view analytics_acme.v as select x from raw_pipedrive_acme.t")
    control.run(statements)
    vault = open_vault(control.warehouse, Settings(token_encryption_keys=KEYS))
    before = row_counts(control, ACME)

    with pytest.raises(removal.RemovalRefused, match=named):
        removal.end(vault, ACME, is_erasing=True, who="a test")

    assert row_counts(control, ACME) == before
    assert len(schemas(control)) == 3
    (connection,) = control.rows(
        "select state from integration.connections where tenant_id = 'acme'"
    )
    assert connection["state"] == "connected"


def test_a_row_that_the_app_inserts_meanwhile_is_no_reason_to_refuse_a_removal(
    control: ControlTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grants were revoked by then, and the message said that nothing was changed."""
    fill(control, ACME)
    app: list[Future[None]] = []

    def insert() -> None:
        with control.warehouse.transaction() as connection:
            connection.execute("insert into crm.customers (tenant_id, name) values ('acme', 'own')")

    def tables() -> Iterator[tuple[str, str]]:
        """All of them; amid the last ones, the app adds a customer."""
        for table in ROWS:
            if table == ("integration", "runs"):
                app.append(pool.submit(insert))
                wait([app[0]], timeout=0.5)
            yield table

    class Tables:
        def __iter__(self) -> Iterator[tuple[str, str]]:
            return tables()

    monkeypatch.setattr(removal, "_ROWS_OF_A_TENANT", Tables())
    with ThreadPoolExecutor(1) as pool:
        removal.remove(control.warehouse, ACME, is_erasing=True, who="a test")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            app[0].result()

    assert not any(row_counts(control, ACME).values())
