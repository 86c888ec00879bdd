"""Through a whole life no cell of the app changes that a sink does not name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipedrive_pipeline.marts import sinks
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


@pytest.mark.slow
def test_no_cell_of_the_app_changes_that_no_sink_names(app: App) -> None:
    """Adopted, synced, edited from both sides, remapped, swept, undone, no longer declared."""
    app.execute(OWN)
    first = app.crm(name="Known GmbH", email="a@a.de", city="Köln", remote_id="1")
    second = app.crm(name="New", email="n@n.de", remote_id="2")
    app.crm("contacts", name="Eva", email="e@n.de", customer_id=second)
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
        "undone": lambda: sinks.undo(app.warehouse, SCOPE, "customers", who="a test"),
        "removed": lambda: app.save({}),
        "fed without a sink": app.feed,
    }
    seen = {"before": cells(app)}
    for name, step in steps.items():
        before = cells(app)
        step()
        seen[name] = cells(app)
        assert is_kept(before, seen[name]), name
        app.execute("update app.customers set notes = coalesce(notes, '') || '.'")

    companies = {(row["workspace_id"], row["company"]) for row in app.rows()}
    assert {(WORKSPACE, "Only here"), (OTHER_WORKSPACE, "Theirs"), (WORKSPACE, "New")} <= companies
    assert len(app.rows()) == 4
