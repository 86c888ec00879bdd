"""The figures of the analytic views, computed by hand from a few rows.

The rows are written straight into the marts, in a transaction that is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from pipedrive_pipeline.marts import publish_views
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.databases import role_name
from pipedrive_pipeline_tests.marts.mart_rows import MartRows
from pipedrive_pipeline_tests.warehouse import databases
from pipedrive_pipeline_tests.warehouse.databases import ACME, BRAVO

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def published(postgres: str, template: str) -> Iterator[Warehouse]:
    """A database with the views of acme, whose days are those of Berlin, and of bravo."""
    with databases.database(postgres, template=template) as url:
        warehouse = Warehouse(url)
        with warehouse.transaction() as connection:
            connection.execute("update integration.tenants set time_zone = 'Europe/Berlin'")
        for tenant in (ACME, BRAVO):
            publish_views(warehouse, tenant)
        yield warehouse


@pytest.fixture
def marts(published: Warehouse) -> Iterator[MartRows]:
    """Acme's rows."""
    with published.transaction() as connection:
        yield MartRows(connection)
        connection.rollback()


def ago(days: float) -> datetime:
    """An instant so many days before the tests began."""
    return NOW - timedelta(days=days)


def at(text: str) -> datetime:
    """An instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def pipeline(marts: MartRows, name: str, *stages: str, **facts: object) -> dict[str, UUID]:
    """Adds a pipeline with its stages; returns the ids by name."""
    ids = {name: marts.add("pipelines", name=name, **facts)}
    for number, stage in enumerate(stages):
        ids[stage] = marts.add("stages", name=stage, sort=number, pipeline_id=ids[name])
    return ids


def test_the_pipeline_of_today_is_open_deals_by_stage_and_currency(marts: MartRows) -> None:
    """A deal's own chance goes before its stage's; what has no chance counts in full.

    Closed, archived and deleted deals are not in it.
    """
    ids = pipeline(marts, "Sales", "New", "Offer")
    marts.connection.execute("update crm.stages set probability = 20 where name = 'Offer'")
    new, offer = ({"pipeline_id": ids["Sales"], "stage_id": ids[name]} for name in ("New", "Offer"))
    for facts in (
        {**offer, "amount": 100, "currency": "EUR", "stage_changed_at": ago(2)},
        {**offer, "amount": 50, "currency": "EUR", "stage_changed_at": ago(4), "probability": 50},
        {**offer, "amount": None, "currency": "EUR", "stage_changed_at": ago(9)},
        {**offer, "amount": 70, "currency": "USD", "remote_created_at": ago(1)},
        {**new, "amount": 10, "currency": "EUR", "expected_close_date": ago(3).date()},
    ):
        marts.add("deals", **{"status": "open", "remote_created_at": ago(30), **facts})
    for gone in (
        {"status": "won"},
        {"status": "lost"},
        {"is_archived": True},
        {"deleted_at": NOW, "deletion_reason": "deleted"},
    ):
        marts.add(
            "deals", **{"status": "open", "amount": 1_000, "currency": "EUR", **offer, **gone}
        )

    rows = marts.rows("select * from pipeline_today order by stage_sort, currency")

    assert [
        (row["stage_name"], row["currency"], row["deals"], row["amount"], row["weighted_amount"])
        for row in rows
    ] == [
        ("New", "EUR", 1, 10, 10),
        ("Offer", "EUR", 3, 150, 45),  # 100 x 20 % + 50 x 50 %
        ("Offer", "USD", 1, 70, 14),
    ]
    assert [row["median_days_in_stage"] for row in rows] == [30, 4, 1]
    assert [row["longest_days_in_stage"] for row in rows] == [30, 9, 1]
    assert [row["overdue_deals"] for row in rows] == [1, 0, 0]
    assert {row["pipeline_name"] for row in rows} == {"Sales"}


def test_a_pipeline_without_probabilities_has_no_weighted_amount(marts: MartRows) -> None:
    """And a deal whose pipeline was never read is counted all the same."""
    ids = pipeline(marts, "Service", "Only", probability_used=False)
    known = {"pipeline_id": ids["Service"], "stage_id": ids["Only"]}
    marts.add("deals", status="open", amount=5, currency="EUR", **known)
    marts.add("deals", status="open", amount=7, currency="EUR", pipeline_remote_id="99")

    rows = marts.query(
        "select pipeline_name, amount, weighted_amount from pipeline_today order by amount"
    )

    assert rows == [("Service", 5, None), (None, 7, 7)]


def test_activities_are_counted_on_the_days_of_their_owner(marts: MartRows) -> None:
    """00:30 in Berlin is the day before in UTC and in New York."""
    ada = marts.add("users", name="Ada", time_zone="Europe/Berlin")
    eve = marts.add("users", name="Eve", time_zone="America/New_York")
    odd = marts.add("users", name="Odd", time_zone="Middle/Earth")
    at_night = {"starts_at": at("2026-03-09T23:30"), "due_date": date(2026, 3, 9), "kind": "call"}
    for owner in (ada, eve, odd):
        marts.add("activities", owner_id=owner, done=False, **at_night)
    only_a_day = {"kind": "call", "due_date": date(2026, 3, 10)}
    marts.add("activities", owner_id=ada, done=True, done_at=at("2026-03-11T23:10"), **only_a_day)
    marts.add("activities", owner_id=ada, done=True, **only_a_day)
    marts.add("activities", owner_id=ada, done=True, deleted_at=NOW, **only_a_day)
    marts.add("activities", done=False, kind="task", due_date=date(2026, 3, 10))

    rows = marts.query(
        "select owner_name, day::text, kind, due, due_and_done, done from activities_daily"
        " order by owner_name, day, kind"
    )

    assert rows == [
        ("Ada", "2026-03-10", "call", 3, 2, 1),
        ("Ada", "2026-03-12", "call", 0, 0, 1),
        ("Eve", "2026-03-09", "call", 1, 0, 0),
        ("Odd", "2026-03-10", "call", 1, 0, 0),
        (None, "2026-03-10", "task", 1, 0, 0),
    ]


def test_the_last_touch_of_each_record(marts: MartRows) -> None:
    """By what was done and written, not by what is planned; a record without any has a row."""
    owner = marts.add("users", name="Ada")
    acme = marts.add("customers", name="Acme", owner_id=owner)
    idle = marts.add("customers", name="Idle")
    marts.add("customers", name="Gone", deleted_at=NOW)
    contact = marts.add("contacts", name="Ben", customer_id=acme)
    deal = marts.add("deals", name="Machine", customer_id=acme, owner_id=owner)
    marts.add(
        "activities",
        customer_id=acme,
        contact_id=contact,
        done=True,
        starts_at=at("2026-03-05T09:00"),
        done_at=at("2026-03-06T18:00"),
    )
    # Done before it was due: it took place when it was marked as done.
    marts.add(
        "activities",
        customer_id=acme,
        done=True,
        due_date=date(2026, 3, 30),
        done_at=at("2026-03-07T12:00"),
    )
    marts.add("activities", customer_id=acme, deal_id=deal, done=False, due_date=date(2026, 4, 2))
    marts.add("activities", customer_id=acme, done=False, starts_at=at("2026-04-01T22:30"))
    marts.add("notes", customer_id=acme, deal_id=deal, remote_created_at=at("2026-03-08T08:00"))
    marts.add("notes", customer_id=acme, remote_created_at=at("2026-03-01T08:00"))
    marts.add("notes", customer_id=idle, remote_created_at=at("2026-03-01T08:00"), deleted_at=NOW)

    rows = {
        str(row["record_name"]): row
        for row in marts.rows("select * from last_touch order by record_name")
    }

    assert set(rows) == {"Acme", "Ben", "Idle", "Machine"}
    assert {name: row["last_touch_at"] for name, row in rows.items()} == {
        "Acme": at("2026-03-08T08:00"),
        "Ben": at("2026-03-05T09:00"),
        "Idle": None,
        "Machine": at("2026-03-08T08:00"),
    }
    assert rows["Acme"]["last_activity_at"] == at("2026-03-07T12:00")
    assert rows["Acme"]["next_activity_on"] == date(2026, 4, 2)  # 00:30 in Berlin
    assert [rows["Acme"][name] for name in ("done_activities", "open_activities", "notes")] == [
        2,
        2,
        2,
    ]
    assert [row["owner_name"] for row in rows.values()] == ["Ada", None, None, "Ada"]
    assert [row["record_kind"] for row in rows.values()] == [
        "customer",
        "contact",
        "customer",
        "deal",
    ]


def test_a_touch_of_one_kind_of_record_reads_nothing_of_the_others(marts: MartRows) -> None:
    """The view has three parts, each as dear as the sum of all activities."""
    plan = str(marts.query("explain select * from last_touch where record_kind = 'deal'"))

    assert "on deals" in plan
    assert "on customers" not in plan
    assert "on contacts" not in plan


ANALYTIC = (
    "pipeline_today",
    "activities_daily",
    "last_touch",
)


@pytest.mark.parametrize("view", ANALYTIC)
def test_an_analytic_view_shows_nothing_of_another_tenant(marts: MartRows, view: str) -> None:
    """To the analyst of acme, who has no right to any table."""
    fill(MartRows(marts.connection, BRAVO))
    role = role_name(marts.connection, "analyst_acme")
    of_bravo = MartRows(marts.connection, BRAVO).query(f"select from {view}")

    marts.connection.execute(f"set local role {role}".encode())

    assert of_bravo
    assert marts.query(f"select from {view}") == []


def fill(marts: MartRows) -> None:
    """Adds a row or more for each of the views."""
    ids = pipeline(marts, "Sales", "New")
    deal = marts.add(
        "deals",
        name="Machine",
        status="open",
        amount=1,
        currency="EUR",
        pipeline_id=ids["Sales"],
        stage_id=ids["New"],
    )
    marts.add("activities", deal_id=deal, kind="call", done=False, due_date=date(2026, 3, 1))
