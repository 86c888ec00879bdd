"""What a sink writes into an app's table, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.marts.sinks import feeding, store
from pipedrive_pipeline.marts.sinks.writer import ensure_writer
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM
from pipedrive_pipeline_tests.marts.sinks.app_schema import (
    CUSTOMERS,
    DOCUMENT,
    OTHER_WORKSPACE,
    SCOPE,
    WORKSPACE,
    App,
)


def only(rows: list[dict[str, Any]]) -> dict[str, Any]:
    (row,) = rows
    return row


def test_a_record_becomes_a_row_of_the_app(app: App) -> None:
    """With the app's own defaults, the tenant's value, a constant, link and time."""
    app.crm(name="Müller GmbH", city="Köln", email="Info@Mueller.de", remote_id="42")
    app.save()

    fed = app.feed()

    row = only(app.rows())
    assert fed["customers"].counts["created"] == 1
    assert (row["company"], row["town"], row["origin"]) == ("Müller GmbH", "Köln", "crm")
    assert (row["workspace_id"], row["pipedrive_id"]) == (WORKSPACE, 42)
    assert (row["status"], row["number"], row["notes"]) == ("active", 1, None)
    assert row["pipedrive_synced_at"] is not None


def test_an_unchanged_run_touches_no_row(app: App) -> None:
    """Also where a trigger of the app stores another value than was asked for."""
    first = app.crm(name="A", email="Info@A.de")
    app.crm(name="B")
    app.save()
    app.feed()
    app.change(first, city="Bonn")
    app.feed()
    before = app.rows()
    assert {row["mail"] for row in before} == {"info@a.de", None}

    fed = app.feed()

    assert app.rows() == before
    assert fed["customers"].counts["unchanged"] == 2
    assert fed["customers"].counts.total() == 2


def test_only_what_changed_is_read_by_a_refresh(app: App) -> None:
    """By the sink's cursor."""
    first = app.crm(name="A")
    app.crm(name="B")
    app.save()
    app.feed()
    app.change(first, name="A2")

    fed = app.feed(is_whole=False)

    assert dict(fed["customers"].counts) == {"updated": 1, "unchanged": 0}
    assert {row["company"] for row in app.rows()} == {"A2", "B"}


def test_a_row_that_the_app_deleted_is_inserted_again(app: App) -> None:
    """Unless the declaration says otherwise."""
    app.crm(name="A")
    app.save()
    app.feed()
    app.execute("delete from app.customers")

    app.feed()
    again = only(app.rows())
    app.save(reinserts=False)
    app.execute("delete from app.customers")
    fed = app.feed()

    assert again["company"] == "A"
    assert app.rows() == []
    assert fed["customers"].counts["missing"] == 1


def test_an_edit_of_the_app_is_overwritten_or_kept(app: App) -> None:
    """By default the CRM wins; with on_conflict the app does, until it gives the value back."""
    row_id = app.crm(name="A", city="Bonn")
    app.save()
    app.feed()
    app.execute("update app.customers set town = 'Ulm', notes = 'vip'")
    app.feed()
    assert (only(app.rows())["town"], only(app.rows())["notes"]) == ("Bonn", "vip")

    app.save(on_conflict="app")
    app.execute("update app.customers set town = 'Ulm'")
    app.change(row_id, name="A2", city="Kiel")
    app.feed()
    kept = only(app.rows())
    app.execute("update app.customers set town = 'Bonn'")
    app.feed()

    assert (kept["company"], kept["town"], kept["notes"]) == ("A2", "Ulm", "vip")
    assert only(app.rows())["town"] == "Kiel"


@pytest.mark.parametrize(
    ("on_delete", "gone"),
    [
        ({"mark": "status", "value": "archived", "restored": "active"}, ("archived", 7)),
        ("unlink", ("active", None)),
        ("leave", ("active", 7)),
    ],
)
def test_a_deleted_record_is_marked_unlinked_or_left(
    app: App, on_delete: Any, gone: tuple[str, int | None]
) -> None:
    """The app's row is never deleted; a record that comes back restores it."""
    row_id = app.crm(name="A", remote_id="7")
    app.save(on_delete=on_delete)
    app.feed()
    app.change(row_id, deleted_at="2026-01-01", deletion_reason="deleted")

    app.feed()
    after = only(app.rows())
    again = app.feed()
    app.change(row_id, deleted_at=None, deletion_reason=None)
    app.feed()

    assert (after["status"], after["pipedrive_id"]) == gone
    assert only(app.rows())["status"] == "active"
    assert only(app.rows())["pipedrive_id"] == 7
    assert again["customers"].counts["updated"] == 0


def test_a_row_that_was_marked_and_edited_since_stays_as_the_app_has_it(app: App) -> None:
    """A mark is ours, another value of that column is the app's."""
    row_id = app.crm(name="A")
    app.save()
    app.feed()
    app.execute("update app.customers set status = 'paused'")
    app.change(row_id, deleted_at="2026-01-01", deletion_reason="deleted")
    app.feed()
    marked = only(app.rows())["status"]
    app.execute("update app.customers set status = 'paused'")
    app.change(row_id, deleted_at=None, deletion_reason=None)
    app.feed()

    assert marked == "archived"
    assert only(app.rows())["status"] == "paused"


def test_a_link_of_a_mart_becomes_a_foreign_key_of_the_app(app: App) -> None:
    """The sink that others refer to is fed first, in whatever order they are written."""
    customer = app.crm(name="A")
    app.crm("contacts", name="Eva", email="EVA@a.de", customer_id=customer)
    app.save(DOCUMENT)

    app.feed()

    (row,), (person,) = app.rows(), app.rows("people")
    assert (person["customer_id"], person["mail"]) == (row["id"], "eva@a.de")


def test_a_row_of_a_mart_that_was_made_again_keeps_its_row_of_the_app(app: App) -> None:
    """A remap gives a row that somebody deleted from crm a new id; the record is the same."""
    app.crm(name="A", remote_id="7")
    app.save()
    app.feed()
    before = only(app.rows())
    app.execute("delete from crm.customers")
    app.crm(name="A2", remote_id="7")

    app.feed()

    assert (only(app.rows())["id"], only(app.rows())["company"]) == (before["id"], "A2")


def remove(app: App) -> None:
    app.save({})


def pause(app: App) -> None:
    app.save(paused=True)


def leave_the_town_to_the_app(app: App) -> None:
    app.save(columns={"company": "name"})


def undo(app: App) -> None:
    sinks.undo(app.warehouse, SCOPE, "customers", who="a test")


@pytest.mark.parametrize("change", [remove, pause, leave_the_town_to_the_app, undo])
def test_a_run_that_has_begun_writes_nothing_by_a_declaration_that_is_no_more(
    app: App, change: Callable[[App], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went on with the one that it had read, also after an `undo`, and inserted rows again."""
    first = app.crm(name="A", city="Bonn", remote_id="1")
    app.save()
    app.feed()
    app.change(first, city="Köln")
    app.crm(name="B", city="Ulm", remote_id="2")
    before = app.rows()
    start = feeding._start

    def start_and_change(*args: Any) -> Any:
        position = start(*args)
        change(app)
        return position

    monkeypatch.setattr(feeding, "_start", start_and_change)

    fed = app.feed()

    assert app.rows() == before
    assert fed == {}


def test_two_tenants_whose_sinks_write_one_table_are_set_up_at_the_same_time(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both grant rights on it; the second ended with "tuple concurrently updated"."""
    bravo = Scope(Tenant("bravo"), SYSTEM)
    workspace = str(OTHER_WORKSPACE)
    of_bravo = {
        **CUSTOMERS,
        "tenant": {"column": "workspace_id", "value": workspace},
        "settings": {"app.workspace": workspace},
    }
    saved: list[Future[sinks.SinksVersion]] = []

    def ensure_both(connection: Any, scope: Scope, *of_sink: Any) -> Any:
        writer = ensure_writer(connection, scope, *of_sink)
        if scope == SCOPE:
            saved.append(
                pool.submit(sinks.save, app.warehouse, bravo, {"customers": of_bravo}, who="a test")
            )
            wait(saved, timeout=0.5)
        return writer

    monkeypatch.setattr(store, "ensure_writer", ensure_both)
    with ThreadPoolExecutor(1) as pool:
        app.save()

        assert saved[0].result().number == 1
