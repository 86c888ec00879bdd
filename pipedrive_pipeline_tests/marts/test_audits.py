"""An audit that finds an offender keeps the whole build from being committed."""

from __future__ import annotations

import re

import psycopg
import pytest

from pipedrive_pipeline.errors import AuditBreach
from pipedrive_pipeline.marts import build
from pipedrive_pipeline.marts.audit import Breach
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.sql_files import audit_files, mart_file
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization, person
from pipedrive_pipeline_tests.warehouse.databases import ACME

EMAILS = [{"value": "a@x.de", "primary": True, "label": "work"}]


def execute(warehouse: Warehouse, *statements: str) -> None:
    with warehouse.transaction() as connection:
        for statement in statements:
            connection.execute(statement.encode())


def meddle(warehouse: Warehouse, table: str, action: str) -> None:
    """An app's own trigger on a mart: what audits are for."""
    execute(
        warehouse,
        f"""
        create function public.meddle() returns trigger language plpgsql as
        $body$ begin {action} return new; end $body$
        """,
        f"""
        create trigger meddle before insert or update on crm.{table}
        for each row execute function public.meddle()
        """,
    )


def state(warehouse: Warehouse) -> list[tuple[object, ...]]:
    with warehouse.transaction() as connection:
        return connection.execute(
            """
            select count(customers.id), max(mart_state.pending_loads), max(mart_state.built_at)
            from integration.mart_state
            left join crm.customers as customers
                on customers.tenant_id = mart_state.tenant_id
            """
        ).fetchall()


@pytest.mark.parametrize(
    "meddling",
    [
        ("customers", "if new.pipedrive_id = 3 then return null; end if;", "customers_complete"),
        ("customers", "new.name := null;", "customers_current"),
        ("customers", "new.changed_at := now();", "customers_current"),
        (
            "customers",
            "new.deleted_at := now(); new.deletion_reason := 'deleted';",
            "customers_deletions",
        ),
        ("contacts", "if new.pipedrive_id = 3 then return null; end if;", "contacts_complete"),
        ("contacts", "new.email := null;", "contacts_current"),
        ("contacts", "new.deleted_at := now();", "contacts_deletions"),
        ("contacts", "new.customer_id := null;", "contacts_linked"),
    ],
)
@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "changed"])
def test_a_breach_commits_nothing(
    warehouse: Warehouse, raw: RawTables, meddling: tuple[str, str, str], *, is_whole: bool
) -> None:
    """Each rule, on a first build and on one of changed rows; pending work stays pending."""
    table, action, rule = meddling
    if not is_whole:
        raw.load(organizations=[organization(1)], persons=[person(1)])
        build(warehouse, ACME, SYSTEM)
    raw.load(organizations=[organization(3)], persons=[person(3, org_id=3, emails=EMAILS)])
    meddle(warehouse, table, action)
    before = state(warehouse)

    with pytest.raises(Breach) as breach:
        build(warehouse, ACME, SYSTEM)

    assert (breach.value.rule, breach.value.ids[-1]) == (rule, 3)
    assert state(warehouse) == before
    execute(warehouse, f"drop trigger meddle on crm.{table}")
    build(warehouse, ACME, SYSTEM)
    with warehouse.transaction() as connection:
        built = connection.execute("select max(pipedrive_id) from crm.contacts").fetchall()
    assert built == [(3,)]


def test_a_breach_names_rule_count_and_ten_ids(warehouse: Warehouse, raw: RawTables) -> None:
    """Enough to look, and no row in the message."""
    raw.load(organizations=[organization(key, name=f"Secret {key}") for key in range(1, 31)])
    meddle(warehouse, "customers", "new.name := null;")

    with pytest.raises(AuditBreach) as breach:
        build(warehouse, ACME, SYSTEM)

    message = str(breach.value)
    assert "customers_current found 30 offending rows" in message
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and more" in message
    assert "Secret" not in message


@pytest.mark.parametrize("mart", ["customers", "contacts"])
def test_every_sql_file_runs_in_psql_unchanged(
    warehouse: Warehouse, raw: RawTables, mart: str
) -> None:
    """Nobody must fill in a template to look at what a rule finds."""
    raw.load(organizations=[organization(1)], persons=[person(1)], users=[])
    raw.load(organization_fields=[], person_fields=[])
    raw.mark("organizations", 2)
    files = [mart_file(mart), mart_file(f"{mart}_changed"), *audit_files(mart)]

    with psycopg.connect(warehouse.url) as connection:
        connection.execute("set search_path to raw_pipedrive_acme")
        connection.execute("set pipeline.tenant_id to 'acme'")
        counts = {file.name: connection.execute(file.text.encode()).rowcount for file in files}

    assert counts[mart] == 1
    assert counts[f"{mart}_complete"] == 1


@pytest.mark.parametrize("mart", ["customers", "contacts"])
def test_every_sql_file_says_what_it_is(mart: str) -> None:
    """What, grain, reads, needs: in that order, at the top."""
    for file in [mart_file(mart), mart_file(f"{mart}_changed"), *audit_files(mart)]:
        header = re.findall(r"^-- (Grain|Reads|Needs): ", file.text, re.MULTILINE)
        assert header == ["Grain", "Reads", "Needs"], file.name
        assert file.title.endswith("."), file.name
