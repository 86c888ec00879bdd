"""An audit that finds an offender keeps the whole build from being committed."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import psycopg
import pytest

from pipedrive_pipeline.errors import AuditBreach
from pipedrive_pipeline.marts import build
from pipedrive_pipeline.marts.audit import Breach, variables
from pipedrive_pipeline.marts.sources import MartSource, mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.sql_files import SqlFile, audit_files
from pipedrive_pipeline_tests.marts.raw_tables import (
    CHANGED_AT,
    SYSTEM,
    RawTables,
    organization,
    person,
)
from pipedrive_pipeline_tests.warehouse.databases import ACME

# By its name, because the package has a function of that name.
BUILDING = import_module("pipedrive_pipeline.marts.build")
UNLINK = "update crm.contacts set customer_id = null where remote_id = '2'"
TOMBSTONE = "update crm.contacts set deleted_at = now() where remote_id = '2'"
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
        ("customers", "if new.remote_id = '3' then return null; end if;", "customers_complete"),
        ("customers", "new.name := null;", "customers_current"),
        ("customers", "new.changed_at := now();", "customers_current"),
        (
            "customers",
            "new.deleted_at := now(); new.deletion_reason := 'deleted';",
            "customers_deletions",
        ),
        ("contacts", "if new.remote_id = '3' then return null; end if;", "contacts_complete"),
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
        build(warehouse, Scope(ACME, SYSTEM))
    raw.load(organizations=[organization(3)], persons=[person(3, org_id=3, emails=EMAILS)])
    meddle(warehouse, table, action)
    before = state(warehouse)

    with pytest.raises(Breach) as breach:
        build(warehouse, Scope(ACME, SYSTEM))

    assert (breach.value.rule, breach.value.ids[-1]) == (rule, "3")
    assert state(warehouse) == before
    execute(warehouse, f"drop trigger meddle on crm.{table}")
    build(warehouse, Scope(ACME, SYSTEM))
    with warehouse.transaction() as connection:
        built = connection.execute("select max(pipedrive_id) from crm.contacts").fetchall()
    assert built == [(3,)]


def test_a_breach_names_rule_count_and_ten_ids(warehouse: Warehouse, raw: RawTables) -> None:
    """Enough to look, and no row in the message."""
    raw.load(organizations=[organization(key, name=f"Secret {key}") for key in range(1, 31)])
    meddle(warehouse, "customers", "new.name := null;")

    with pytest.raises(AuditBreach) as breach:
        build(warehouse, Scope(ACME, SYSTEM))

    message = str(breach.value)
    assert "customers_current found 30 offending rows" in message
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and more" in message
    assert "Secret" not in message


# What a record needs for a row of each mart whose rows are parts of records.
PARTS: dict[str, dict[str, object]] = {
    "deals": {"person_id": 1, "stage_id": 1, "add_time": CHANGED_AT},
    "products": {"prices": [{"price": 1, "currency": "EUR"}]},
}
MART_SOURCES = pytest.mark.parametrize(
    "source", mart_sources(SYSTEM), ids=lambda source: source.name
)


@MART_SOURCES
def test_every_select_and_audit_runs_by_hand(
    warehouse: Warehouse, raw: RawTables, source: MartSource
) -> None:
    """A person may look at what a select gives and a rule finds; psql takes the variables."""
    raw.make_all()
    raw.load(**{source.entity: [{source.key: "1", **PARTS.get(source.entity, {})}]})
    raw.mark("organizations", 2)
    links = {f"linked {link.name}": variables(source, link=link) for link in source.links}
    audits = {file.name: file for file in audit_files()}

    with psycopg.connect(warehouse.url) as connection:
        connection.execute("set search_path to raw_pipedrive_acme")
        connection.execute("set pipeline.tenant_id to 'acme'")
        selected = connection.execute(source.select.text.encode()).rowcount
        found = {
            name: connection.execute(audits[name].filled(variables(source))).rowcount
            for name in ("complete", "current", "deletions")
        } | {
            name: connection.execute(audits["linked"].filled(values)).rowcount
            for name, values in links.items()
        }

    assert selected == 1
    assert found == {"complete": 1, "current": 0, "deletions": 0, **dict.fromkeys(links, 0)}


@pytest.mark.parametrize(
    "file",
    [*audit_files(), *(source.select for source in mart_sources(SYSTEM))],
    ids=lambda file: file.name,
)
def test_every_sql_file_says_what_it_is(file: SqlFile) -> None:
    """What, grain, reads, needs: in that order, at the top."""
    header = re.findall(r"^-- (Grain|Reads|Needs): ", file.text, re.MULTILINE)

    assert header == ["Grain", "Reads", "Needs"]
    assert file.title.endswith(".")


@MART_SOURCES
def test_the_outputs_of_a_select_are_read_from_its_text(
    warehouse: Warehouse, raw: RawTables, source: MartSource
) -> None:
    """A column that the engine overlooked would stay empty for ever."""
    raw.make_all()
    raw.mark("organizations", 2)  # for the table of marks

    with psycopg.connect(warehouse.url) as connection:
        connection.execute("set search_path to raw_pipedrive_acme")
        described = connection.execute(source.select.text.encode()).description or ()

    assert [column.name for column in described] == list(source.outputs)


@pytest.mark.parametrize(
    "change", ["delete from crm.contacts where remote_id = '2'", UNLINK, TOMBSTONE]
)
def test_what_the_app_does_to_a_row_amid_a_build_is_put_right_by_another_attempt(
    raw: RawTables, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The row was compared before, and audited after: a person was told to find a trigger."""
    raw.load(organizations=[organization(1)], persons=[person(1, org_id=1), person(2, org_id=1)])
    build(raw.warehouse, Scope(ACME, SYSTEM))
    before = contacts(raw.warehouse)
    audited: list[object] = []
    original = BUILDING._audit

    def audit_after_the_change(*args: Any) -> None:
        if not audited:
            execute(raw.warehouse, change)
        audited.append(args)
        original(*args)

    monkeypatch.setattr(BUILDING, "_audit", audit_after_the_change)

    build(raw.warehouse, Scope(ACME, SYSTEM), is_whole=True)

    assert contacts(raw.warehouse) == before


def contacts(warehouse: Warehouse) -> list[tuple[object, ...]]:
    with warehouse.transaction() as connection:
        return connection.execute(
            "select remote_id, name, customer_id, deleted_at from crm.contacts order by remote_id"
        ).fetchall()
