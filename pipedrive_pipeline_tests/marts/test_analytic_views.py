"""The figures of the analytic views, computed by hand from a few rows.

The rows are written straight into the marts, in a transaction that is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from psycopg import errors

from pipedrive_pipeline.marts import publish_views
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.sql_files import view_files
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


@pytest.mark.slow
def test_the_pipeline_of_today_is_open_deals_by_stage_and_currency(marts: MartRows) -> None:
    """A deal's own chance goes before its stage's; what has no chance counts in full.

    Closed, archived and deleted deals are not in it.
    """
    ids = marts.pipeline("Sales", "New", "Offer")
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
    ids = marts.pipeline("Service", "Only", probability_used=False)
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


@pytest.fixture
def funnel(marts: MartRows) -> dict[str, UUID]:
    """Six deals in a pipeline of three stages, and one in another pipeline."""
    ids = marts.pipeline("Sales", "New", "Offer", "Contract")
    ids |= marts.pipeline("Service", "Only")
    marts.add("stages", name="Removed", sort=3, pipeline_id=ids["Sales"], deleted_at=NOW)
    new, offer, contract = ids["New"], ids["Offer"], ids["Contract"]

    def deal(name: str, status: str = "open", **facts: object) -> UUID:
        ids[name] = marts.add(
            "deals", name=name, status=status, amount=100, currency="EUR",
            **{"pipeline_id": ids["Sales"], **facts},
        )  # fmt: skip
        return ids[name]

    straight = deal("straight", "won", won_at=at("2026-03-10T12:00"))
    marts.visit(straight, new, at("2026-03-01T00:00"), at("2026-03-03T00:00"))  # 2 days
    marts.visit(straight, offer, at("2026-03-03T00:00"), at("2026-03-07T00:00"))  # 4 days
    marts.visit(
        straight, contract, at("2026-03-07T00:00"), None, ("won", at("2026-03-10T12:00"))
    )  # 3.5 days
    back = deal("back")
    marts.visit(back, new, at("2026-03-01T00:00"), at("2026-03-02T00:00"))
    marts.visit(back, offer, at("2026-03-02T00:00"), at("2026-03-03T00:00"))  # 1 day
    marts.visit(back, new, at("2026-03-03T00:00"), at("2026-03-06T00:00"))  # 1 + 3 days
    marts.visit(back, offer, ago(10), None)
    skipped = deal("skipped", "lost", lost_at=at("2026-04-01T00:00"))
    marts.visit(skipped, new, at("2026-03-01T00:00"), at("2026-03-07T00:00"))  # 6 days
    marts.visit(skipped, contract, at("2026-03-07T00:00"), None,
        ("won", at("2026-03-09T00:00")),
        ("open", at("2026-03-20T00:00")),
        ("lost", at("2026-04-01T00:00")),
    )  # fmt: skip
    marts.visit(deal("waiting"), new, ago(3), None)
    marts.visit(deal("lost", "lost"), new, at("2026-03-01T00:00"), None,
        ("lost", at("2026-03-09T00:00")),
    )  # fmt: skip
    gone = deal("gone", deleted_at=NOW)
    marts.visit(gone, new, at("2026-03-01T00:00"), None, deleted_at=NOW)
    other = deal("other", pipeline_id=ids["Service"])
    marts.visit(other, ids["Only"], ago(1), None)
    return ids


def test_the_funnel_counts_each_deal_once_per_stage_that_it_reached(
    marts: MartRows, funnel: dict[str, UUID]
) -> None:
    """Skipping a stage and coming back to one count like passing it; a deal that is gone does not.

    New was reached by straight, back, skipped, waiting and lost; their finished times are 2, 4, 6
    and 8 days, of which 5 is the median. Offer was visited by straight and back, and skipped passed
    it. Contract: 3.5 days and, of the visit with a win in between, 2 + 12 days.
    """
    rows = marts.rows("select * from deal_funnel order by pipeline_name, stage_sort")

    assert [
        (
            row["stage_name"],
            row["deals_reached"],
            row["deals_visited"],
            row["next_stage_share"],
            row["won_deals"],
            row["median_days"],
        )
        for row in rows
    ] == [
        ("New", 5, 5, Decimal("0.6"), 1, 5),
        ("Offer", 3, 2, Decimal("0.6667"), 1, 4),
        ("Contract", 2, 2, None, 1, Decimal("8.75")),
        ("Only", 1, 1, None, 0, None),
    ]
    assert [row["won_share"] for row in rows] == [
        Decimal("0.2"),
        Decimal("0.3333"),
        Decimal("0.5"),
        0,
    ]
    assert funnel["New"] == rows[0]["stage_id"]


@pytest.mark.usefixtures("funnel")
def test_durations_are_of_all_visits_and_of_open_days_only(marts: MartRows) -> None:
    """A deal that comes back adds its visits up; a win interrupts the time."""
    rows = {
        (row["deal_name"], row["stage_name"]): row
        for row in marts.rows("select * from stage_durations")
    }

    days = {key: (row["visits"], float(row["open_days"])) for key, row in rows.items()}
    assert days == {
        ("straight", "New"): (1, 2),
        ("straight", "Offer"): (1, 4),
        ("straight", "Contract"): (1, 3.5),
        ("back", "New"): (2, 4),
        ("back", "Offer"): (2, pytest.approx(11, abs=0.02)),
        ("skipped", "New"): (1, 6),
        ("skipped", "Contract"): (1, 14),
        ("waiting", "New"): (1, pytest.approx(3, abs=0.02)),
        ("lost", "New"): (1, 8),
        ("other", "Only"): (1, pytest.approx(1, abs=0.02)),
    }
    back = rows["back", "New"]
    assert (back["first_entered_at"], back["last_left_at"], back["is_there"]) == (
        at("2026-03-01T00:00"),
        at("2026-03-06T00:00"),
        False,
    )
    assert rows["back", "Offer"]["last_left_at"] is None
    assert rows["back", "Offer"]["is_there"]
    assert rows["back", "Offer"]["is_exact"]


def test_a_visit_that_goes_on_after_a_reopening_counts_its_open_days(marts: MartRows) -> None:
    """Open for two days, won for five, open again since a day ago."""
    ids = marts.pipeline("Sales", "New")
    deal = marts.add("deals", name="again", status="open")
    marts.visit(deal, ids["New"], ago(8), None, ("won", ago(6)), ("open", ago(1)))

    ((days, is_there),) = marts.query("select open_days, is_there from stage_durations")

    assert float(days) == pytest.approx(3, abs=0.02)
    assert is_there


@pytest.mark.usefixtures("funnel")
def test_won_and_lost_by_what_is_and_by_what_happened(marts: MartRows) -> None:
    """The reopened deal is lost now; that it was won in March stays in the history."""
    rows = marts.query(
        """
        select month::text, currency, won_deals, won_amount, lost_deals, lost_amount,
            won_in_history, lost_in_history
        from won_lost_monthly
        order by month
        """
    )

    assert rows == [
        ("2026-03-01", "EUR", 1, 100, 0, 0, 2, 1),
        ("2026-04-01", "EUR", 0, 0, 1, 100, 0, 1),
        (None, "EUR", 0, 0, 1, 0 + 100, 0, 0),  # the CRM gives no time for the deal "lost"
    ]


def test_two_wins_in_one_visit_are_two(marts: MartRows) -> None:
    """Won, reopened and won again in the same stage: in two months."""
    ids = marts.pipeline("Sales", "New")
    deal = marts.add("deals", status="won", won_at=at("2026-05-02T00:00"), pipeline_id=ids["Sales"])
    marts.visit(
        deal, ids["New"], at("2026-03-01T00:00"), None,
        ("won", at("2026-03-05T00:00")),
        ("open", at("2026-04-05T00:00")),
        ("won", at("2026-05-02T00:00")),
    )  # fmt: skip

    rows = marts.query(
        "select month::text, won_deals, won_in_history from won_lost_monthly order by month"
    )

    assert rows == [("2026-03-01", 0, 1), ("2026-05-01", 1, 1)]


def test_won_and_lost_are_never_added_up_across_currencies(marts: MartRows) -> None:
    """And the month begins at midnight in the time zone of the tenant."""
    facts = {"status": "won", "amount": 10}
    marts.add("deals", currency="EUR", won_at=at("2026-03-31T22:30"), **facts)  # April in Berlin
    marts.add("deals", currency="USD", won_at=at("2026-04-30T21:30"), **facts)
    marts.add("deals", currency="USD", won_at=at("2026-04-30T21:30"), is_archived=True, **facts)

    rows = marts.query(
        "select month::text, currency, won_deals, won_amount"
        " from won_lost_monthly order by currency"
    )

    assert rows == [("2026-04-01", "EUR", 1, 10), ("2026-04-01", "USD", 2, 20)]


def test_a_deal_that_is_moved_while_it_is_won_is_not_won_again(marts: MartRows) -> None:
    """Its next visit begins with a status that it already had; one that was made as won counts."""
    ids = marts.pipeline("Sales", "New", "Done")
    deal = marts.add("deals", status="won", won_at=at("2026-03-05T00:00"))
    marts.add("deals", status="open")
    won = at("2026-03-05T00:00")
    marts.visit(deal, ids["New"], at("2026-03-01T00:00"), at("2026-04-08T00:00"), ("won", won))
    marts.visit(deal, ids["Done"], at("2026-04-08T00:00"), None, first="won")
    born = marts.add("deals", status="won", won_at=won)
    marts.visit(born, ids["Done"], won, None, first="won")
    marts.connection.execute(
        "update crm.deal_stage_history set won_at = %s where deal_id = %s", (won, born)
    )

    rows = marts.query(
        "select month::text, sum(won_deals), sum(won_in_history) from won_lost_monthly group by 1"
    )

    assert rows == [("2026-03-01", 2, 2)]


@pytest.mark.usefixtures("funnel")
@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-02-27", []),
        # Midnight UTC is 01:00 in Berlin: what began then is there at the end of the first.
        ("2026-02-28", []),
        # All but waiting, gone too; then back goes on to the offer.
        ("2026-03-01", [("New", 5, 500)]),
        ("2026-03-02", [("New", 4, 400), ("Offer", 1, 100)]),
        # straight and back are open, skipped is won, lost is lost, gone was there.
        ("2026-03-09", [("New", 1, 100), ("Contract", 1, 100)]),
        ("2026-03-10", [("New", 1, 100)]),
        ("2026-03-21", [("New", 1, 100), ("Contract", 1, 100)]),
    ],
)
def test_the_pipeline_as_of_a_day(
    marts: MartRows, day: str, expected: list[tuple[str, int, int]]
) -> None:
    """By the visits and statuses at the end of the day, whatever became of the deals since."""
    rows = marts.query(
        f"select stage_name, deals, amount from pipeline_as_of('{day}') where currency = 'EUR'"
        " order by length(stage_name), stage_name"
    )

    assert sorted(rows) == sorted(expected)


@pytest.mark.usefixtures("funnel")
def test_the_pipeline_as_of_today_is_the_pipeline_of_today(marts: MartRows) -> None:
    """Stage by stage, with the same deals and amounts."""
    marts.connection.execute(
        """
        update crm.deals
        set stage_id = history.stage_id
        from crm.deal_stage_history as history
        where history.deal_id = deals.id
            and history.left_at is null
        """
    )
    of_today = "select stage_name, currency, deals, amount from {} order by stage_name"
    as_of_today = "tenant, pipeline_as_of((now() at time zone time_zone)::date)"

    today = marts.query(of_today.format("pipeline_today"))

    assert today == [
        ("New", "EUR", 1, 100),
        ("Offer", "EUR", 1, 100),
        ("Only", "EUR", 1, 100),
    ]
    assert marts.query(of_today.format(as_of_today)) == today


def test_a_visit_whose_place_a_better_one_took_is_not_counted(marts: MartRows) -> None:
    """The history of the source replaced it; the deal itself may be gone later."""
    ids = marts.pipeline("Sales", "New", "Offer")
    facts = {"status": "open", "amount": 1, "currency": "EUR"}
    for deleted_at in (None, at("2026-04-01T00:00")):
        deal = marts.add("deals", deleted_at=deleted_at, **facts)
        replaced = at("2026-03-20T00:00")
        marts.visit(deal, ids["New"], at("2026-03-01T00:00"), None, deleted_at=replaced)
        marts.visit(deal, ids["Offer"], at("2026-03-01T00:00"), None, deleted_at=deleted_at)
    of_a_day = "select stage_name, deals from pipeline_as_of('{}')"

    assert marts.query(of_a_day.format("2026-03-05")) == [("Offer", 2)]
    assert marts.query(of_a_day.format("2026-04-05")) == [("Offer", 1)]


def test_a_visit_that_ended_has_the_amount_of_its_beginning(marts: MartRows) -> None:
    """A deal that is still in the stage, or whose amount was not kept, has the amount of today."""
    ids = marts.pipeline("Sales", "New", "Offer")
    deal = marts.add("deals", status="open", amount=90, currency="USD")
    entered, moved = at("2026-03-01T08:00"), at("2026-03-05T08:00")
    marts.visit(deal, ids["New"], entered, moved, amount=50, currency="EUR")
    marts.visit(deal, ids["Offer"], moved, None, amount=70, currency="USD")

    amounts = [
        marts.query(f"select stage_name, currency, amount from pipeline_as_of('2026-03-0{day}')")
        for day in (2, 5)
    ]

    assert amounts == [[("New", "EUR", 50)], [("Offer", "USD", 90)]]


OF_THE_SYNC = {"column_changes", "columns", "sync_status", "tenant"}
ANALYTIC = (
    *(file.name for file in view_files() if file.name not in OF_THE_SYNC),
    "pipeline_as_of('2026-03-02')",
)


@pytest.mark.parametrize("view", ANALYTIC)
def test_an_analytic_view_shows_nothing_of_another_tenant(marts: MartRows, view: str) -> None:
    """To the analyst of acme, who has no right to any table, nor to the other's views."""
    fill(MartRows(marts.connection, BRAVO))
    role = role_name(marts.connection, "analyst_acme")
    of_bravo = MartRows(marts.connection, BRAVO).query(f"select from {view}")

    marts.connection.execute(f"set local role {role}".encode())

    assert of_bravo
    assert marts.query(f"select from {view}") == []
    assert marts.query(f"select from {view} as shown where shown::text like '%Theirs%'") == []
    with pytest.raises(errors.InsufficientPrivilege):
        marts.connection.execute(f"select from analytics_bravo.{view}".encode())


def fill(marts: MartRows) -> None:
    """Adds a row or more for each of the views."""
    ids = marts.pipeline("Theirs", "Their stage")
    deal = marts.add(
        "deals",
        name="Theirs",
        status="open",
        amount=1,
        currency="EUR",
        pipeline_id=ids["Theirs"],
        stage_id=ids["Their stage"],
    )
    marts.visit(deal, ids["Their stage"], at("2026-03-01T00:00"), None)
    marts.add("deals", name="Won", status="won", won_at=at("2026-03-01T00:00"))
    marts.add("activities", deal_id=deal, kind="call", done=False, due_date=date(2026, 3, 1))
