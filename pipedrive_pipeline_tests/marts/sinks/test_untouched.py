"""Through a whole life no cell of the app changes that a sink does not name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.marts.erasure import erase_rows
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.tenancy.removal import remove
from pipedrive_pipeline.vault.disconnect import disconnect
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM
from pipedrive_pipeline_tests.marts.sinks.app_schema import (
    CUSTOMERS,
    DOCUMENT,
    OTHER_WORKSPACE,
    PEOPLE,
    SCOPE,
    WORKSPACE,
    App,
)

OWN = """
insert into app.customers (workspace_id, company, town, mail, notes, credit_limit, vat_id) values
    ('0b6c2f6e-3f0a-4a3e-9d52-000000000001', 'Known', 'Ulm', 'a@a.de', 'vip', 10, 'DE1'),
    ('0b6c2f6e-3f0a-4a3e-9d52-000000000001', 'Only here', 'Bonn', 'b@b.de', 'own', 20, 'DE2'),
    ('0b6c2f6e-3f0a-4a3e-9d52-000000000002', 'Theirs', 'Kiel', 'a@a.de', 'theirs', 30, 'DE1');
insert into app.people (workspace_id, customer_id, full_name, is_favourite)
select workspace_id, id, 'Person of ' || company, true from app.customers
"""
MAPPED = {
    "customers": {
        "company",
        "town",
        "mail",
        "origin",
        "status",
        "pipedrive_id",
        "pipedrive_synced_at",
        "updated_at",  # by the app's own trigger
    },
    "people": {"full_name", "mail", "customer_id"},
}
# Steps that write into no table of the app at all, not even the same values.
WITHOUT_A_WRITE = frozenset(
    {
        *("declared", "matched", "adopted", "a person erased", "disconnected"),
        *("tenant erased", "no longer declared", "fed without a sink"),
    }
)
CONNECTED = """
insert into integration.connections (
    tenant_id, system, kind, state, access_token, api_domain
)
values ('acme', 'pipedrive', 'api_token', 'connected', 'x', 'https://acme.pipedrive.com')
"""
DOCUMENT_OF_A_LIFE = {
    "customers": {**CUSTOMERS, "match_by": ["email"]},
    "people": {**PEOPLE, "match_by": ["email"]},
}


def cells(app: App) -> dict[tuple[str, Any, str], Any]:
    """Every cell of the app that no sink may write: unmapped columns, and rows of its own."""
    linked = set()
    with app.warehouse.transaction() as connection:
        for (key,) in connection.execute(
            "select app_key[1] from integration.sink_links where confirmed_at is not null"
        ):
            linked.add(key)
    return {
        (table, row["id"], name): value
        for table, mapped in MAPPED.items()
        for row in app.rows(table)
        for name, value in row.items()
        if name != "xmin" and (str(row["id"]) not in linked or name not in mapped)
    }


def is_kept(before: dict[Any, Any], after: dict[Any, Any]) -> bool:
    """True if each cell that was there is as it was; linked rows may lose mapped cells only."""
    return all(
        after[cell] == value for cell, value in before.items() if cell in after
    ) and before.keys() - after.keys() <= {cell for cell in before if cell[2] in MAPPED[cell[0]]}


def erase_person(app: App, remote_id: str) -> None:
    """Erases a contact from the marts, as `tenants erase-person` does."""
    source = next(each for each in mart_sources(SYSTEM) if each.name == "contacts")
    with app.warehouse.transaction(SCOPE.tenant) as connection:
        assert erase_rows(connection, SCOPE, source, [remote_id]) == 1


def end_connection(app: App) -> None:
    """Disconnects the tenant."""
    app.execute(CONNECTED)
    settings = Settings(
        database_url=SecretStr(app.warehouse.url),
        token_encryption_keys=(SecretStr(Fernet.generate_key().decode()),),
    )
    disconnect(Vault(app.warehouse, settings), SCOPE, who="a test")


def erase_tenant(app: App) -> None:
    """Removes the tenant with all its data."""
    remove(app.warehouse, SCOPE.tenant, is_erasing=True, who="a test")


@pytest.mark.slow
@pytest.mark.parametrize("end", ["no longer declared", "tenant erased"])
def test_no_cell_of_the_app_changes_that_no_sink_names(app: App, end: str) -> None:
    """Adopted, synced, edited from both sides, remapped, swept, erased, disconnected, ended."""
    app.execute(OWN)
    first = app.crm(name="Known GmbH", email="a@a.de", city="Köln", remote_id="1")
    second = app.crm(name="New", email="n@n.de", remote_id="2")
    app.crm("contacts", name="Eva", email="e@n.de", customer_id=second, remote_id="1")
    app.crm("contacts", name="Ida", email="i@n.de", customer_id=second, remote_id="2")
    steps: dict[str, Callable[[], object]] = {
        "declared": lambda: app.save(DOCUMENT_OF_A_LIFE),
        "matched": lambda: [sinks.match(app.warehouse, SCOPE, name) for name in DOCUMENT],
        "adopted": lambda: [
            sinks.confirm(app.warehouse, SCOPE, name, who="a test") for name in DOCUMENT
        ],
        "synced": app.feed,
        "edited at the source": lambda: app.change(first, name="Known AG", city="Ulm"),
        "synced again": lambda: app.feed(is_whole=False),
        "remapped": app.feed,
        "deleted at the source": lambda: app.change(first, deleted_at="2026-01-01"),
        "swept": app.feed,
        "a person erased": lambda: erase_person(app, "2"),
        "synced after the erasure": app.feed,
        "disconnected": lambda: end_connection(app),
        "remapped without a connection": app.feed,
        "undone": lambda: sinks.undo(app.warehouse, SCOPE, "customers", who="a test"),
        "no longer declared": lambda: app.save({}),
        "tenant erased": lambda: erase_tenant(app),
        "fed without a sink": app.feed,
    }
    del steps["tenant erased" if end == "no longer declared" else "no longer declared"]
    for name, step in steps.items():
        before, rows = cells(app), (app.rows(), app.rows("people"))
        step()
        assert is_kept(before, cells(app)), name
        if name in WITHOUT_A_WRITE:
            assert (app.rows(), app.rows("people")) == rows, name
        app.execute("update app.customers set notes = coalesce(notes, '') || '.'")

    companies = {(row["workspace_id"], row["company"]) for row in app.rows()}
    assert {(WORKSPACE, "Only here"), (OTHER_WORKSPACE, "Theirs"), (WORKSPACE, "New")} <= companies
    assert len(app.rows()) == 4
    assert {"Eva", "Ida"} <= {row["full_name"] for row in app.rows("people")}
