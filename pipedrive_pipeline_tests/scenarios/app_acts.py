"""Writes of an app to `crm` that a pipeline does not expect.

Each is a function of a connection, a tenant, its CRM and a number; `test_convergence.py` decides
when they are made.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg import sql

from pipedrive_pipeline.sandbox import CrmAccount
from pipedrive_pipeline.tenants import Tenant

MARTS = ("customers", "contacts")
Act = Callable[[psycopg.Connection, Tenant, CrmAccount, int], None]


WRITTEN_COLUMNS = """
select columns.column_name
from information_schema.columns
where columns.table_schema = 'crm'
    and columns.table_name = %s
    and columns.is_generated = 'NEVER'
"""


def mart_of(number: int) -> sql.Identifier:
    """One of the two marts."""
    return sql.Identifier("crm", MARTS[number % 2])


def delete_rows(db: psycopg.Connection, tenant: Tenant, _: CrmAccount, number: int) -> None:
    statement = "delete from {} where tenant_id = %s and pipedrive_id %% %s = 0"
    db.execute(sql.SQL(statement).format(mart_of(number)), [tenant.slug, 2 + number % 9])


def edit_our_columns(db: psycopg.Connection, tenant: Tenant, _: CrmAccount, number: int) -> None:
    statement = (
        "update {} set name = 'App', owner_name = null, labels = '{{x}}', deleted_at = null"
        " where tenant_id = %s and pipedrive_id %% %s = 0"
    )
    db.execute(sql.SQL(statement).format(mart_of(number)), [tenant.slug, 2 + number % 9])


def cut_links(db: psycopg.Connection, tenant: Tenant, _: CrmAccount, number: int) -> None:
    statement = "update crm.contacts set customer_id = null where tenant_id = %s and {} = 0"
    share = sql.SQL("pipedrive_id %% {}").format(1 + number % 5)
    db.execute(sql.SQL(statement).format(share), [tenant.slug])


def stamp_rows_by_trigger(
    db: psycopg.Connection, tenant: Tenant, _: CrmAccount, number: int
) -> None:
    """`updated_at` never moves again, as with an app that fills it from a clock of its own."""
    statement = """
        create or replace function public.set_updated_at() returns trigger language plpgsql as
        $$ begin new.updated_at := '2020-01-01Z'; return new; end $$;
        create or replace trigger {name} before insert or update on {mart}
        for each row when (new.tenant_id = {slug}) execute function public.set_updated_at();
    """
    name = sql.Identifier(f"stamp_{tenant.slug}")
    db.execute(sql.SQL(statement).format(name=name, mart=mart_of(number), slug=tenant.slug))


def insert_a_customer_first(
    db: psycopg.Connection, tenant: Tenant, account: CrmAccount, number: int
) -> None:
    """The app's row has the id of an organization that no run has read yet."""
    with account.lock:
        coming = account.records["organizations"].last_id + 1
        db.execute(
            "insert into crm.customers (tenant_id, system, remote_id, name)"
            " values (%s, 'pipedrive', %s, 'App')",
            [tenant.slug, str(coming)],
        )
        account.create("organizations", name=f"Später {number}")
        account.create("persons", name=f"Später {number}", org_id=coming)


def keep_a_copy(db: psycopg.Connection, tenant: Tenant, _: CrmAccount, _number: int) -> None:
    """As a nightly dump does."""
    for mart in MARTS:
        copy = sql.Identifier("public", f"{mart}_of_{tenant.slug}")
        db.execute(sql.SQL("drop table if exists {}").format(copy))
        statement = "create table {} as select * from {} where tenant_id = {}"
        source = sql.Identifier("crm", mart)
        db.execute(sql.SQL(statement).format(copy, source, tenant.slug))


def restore_the_copy(db: psycopg.Connection, tenant: Tenant, _: CrmAccount, _number: int) -> None:
    """Of `crm` alone; raw, watermarks and everything else stay as they are."""
    copies = {mart: sql.Identifier("public", f"{mart}_of_{tenant.slug}") for mart in MARTS}
    is_there = db.execute("select to_regclass(%s)", [copies["customers"].as_string()]).fetchone()
    if is_there is None or is_there[0] is None:
        return
    for mart in reversed(MARTS):
        statement = sql.SQL("delete from {} where tenant_id = %s")
        db.execute(statement.format(sql.Identifier("crm", mart)), [tenant.slug])
    for mart, copy in copies.items():
        names = [sql.Identifier(name) for (name,) in db.execute(WRITTEN_COLUMNS, [mart])]
        statement = sql.SQL("insert into {} ({}) select {} from {}")
        columns = sql.SQL(", ").join(names)
        db.execute(statement.format(sql.Identifier("crm", mart), columns, columns, copy))


ACTS: dict[str, Act] = {
    act.__name__: act
    for act in (
        delete_rows,
        edit_our_columns,
        cut_links,
        stamp_rows_by_trigger,
        insert_a_customer_first,
        keep_a_copy,
        restore_the_copy,
    )
}
