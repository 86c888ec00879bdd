"""The analytic views over the scripted account of 200 deals show what was computed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipedrive_pipeline.marts import build, publish_views
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts import two_hundred_deals as account
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables
from pipedrive_pipeline_tests.warehouse import databases
from pipedrive_pipeline_tests.warehouse.databases import ACME

STAGE_OF = {name: key for key, (_, name) in account.STAGES.items()}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def played(postgres: str, template: str) -> Iterator[Warehouse]:
    """The account after seven weeks, built and published."""
    with databases.database(postgres, template=template) as url:
        warehouse = Warehouse(url)
        account.play(RawTables(warehouse, ACME))
        build(warehouse, Scope(ACME, SYSTEM))
        with warehouse.transaction() as connection:
            # The loads of these raw tables are of 1970, and a visit goes with a load.
            connection.execute(
                "update crm.deal_stage_history set deleted_at = now()"
                " where deleted_at < '2000-01-01'"
            )
        publish_views(warehouse, ACME)
        yield warehouse


def rows(warehouse: Warehouse, query: str) -> list[tuple[Any, ...]]:
    with warehouse.transaction(search_path=(ACME.analytics_schema,)) as connection:
        return connection.execute(query.encode()).fetchall()


def by_stage(warehouse: Warehouse, query: str) -> dict[int, Any]:
    """A value by the number of the stage; the query gives the stage's name and the value."""
    return {STAGE_OF[name]: value for name, value in rows(warehouse, query)}


@pytest.mark.slow
def test_the_funnel(played: Warehouse) -> None:
    """Deals that skipped a stage reached it; merged, converted and deleted ones are not counted."""
    reached = by_stage(played, "select stage_name, deals_reached from deal_funnel")
    visited = by_stage(played, "select stage_name, deals_visited from deal_funnel")
    medians = by_stage(played, "select stage_name, median_days from deal_funnel")
    shares = by_stage(played, "select stage_name, next_stage_share from deal_funnel")

    assert reached == account.DEALS_REACHED
    assert visited == account.DEALS_VISITED | {12: 0}
    assert medians == account.MEDIAN_OPEN_DAYS | {12: None}
    assert {stage: None if share is None else float(share) for stage, share in shares.items()} == {
        1: round(150 / 170, 4),
        2: round(80 / 150, 4),
        3: 20 / 80,
        4: None,
        11: 0,
        12: None,
    }
    assert by_stage(played, "select stage_name, won_deals from deal_funnel") == {
        1: 60,  # 1 to 20, 61 to 80, 161 to 180
        2: 60,
        3: 40,
        4: 20,
        11: 20,
        12: 0,
    }


def test_the_durations(played: Warehouse) -> None:
    """One row per deal and stage, with all its visits."""
    visits = by_stage(played, "select stage_name, sum(visits) from stage_durations group by 1")
    deals = by_stage(played, "select stage_name, count(*) from stage_durations group by 1")
    medians = by_stage(
        played,
        "select stage_name, percentile_cont(0.5) within group (order by open_days)"
        " from stage_durations where not (is_there and deal_status = 'open') group by 1",
    )

    assert visits == account.VISITS
    assert deals == account.DEALS_VISITED
    assert medians == account.MEDIAN_OPEN_DAYS


@pytest.mark.parametrize(
    ("status", "figures"), [("won", account.WON_BY_MONTH), ("lost", account.LOST_BY_MONTH)]
)
def test_won_and_lost_by_month(
    played: Warehouse, status: str, figures: dict[str, dict[str, int]]
) -> None:
    """By what the deals are now, and by history; a reopened deal tells the two apart."""
    for column, expected in (
        (f"{status}_deals", "current"),
        (f"{status}_in_history", "in_history"),
    ):
        counted = rows(
            played,
            f"select to_char(month, 'MM'), sum({column}) from won_lost_monthly"
            f" group by 1 having sum({column}) > 0",
        )
        assert dict(counted) == figures[expected]


def test_amounts_by_month_and_currency(played: Warehouse) -> None:
    """100 EUR a deal; the ten deals of the second pipeline 200 USD each."""
    amounts = rows(
        played,
        "select to_char(month, 'MM'), pipeline_name, currency, won_amount from won_lost_monthly"
        " where won_deals > 0 order by month, currency",
    )

    assert amounts == [
        ("01", "Sales", "EUR", 2_000),
        ("02", "Sales", "EUR", 2_000),
        ("02", "Renewals", "USD", 4_000),
    ]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        # 1: 41 to 60, 121 to 130, 141 to 160, 181 to 200. 2: 21 to 40, 101 to 120, 131 to 140,
        # in USD 161 to 180. 3: 1 to 20. 61 to 80 are won and 81 to 100 are lost.
        (10, {(1, "EUR"): 70, (2, "EUR"): 50, (2, "USD"): 20, (3, "EUR"): 20}),
        # 1: 121 to 130, whose merge was seen later, 141 to 150, 181 to 190. 2: 131 to 140, while
        # 101 to 120 are archived. 3: 41 to 100, of which 61 to 100 were reopened.
        (25, {(1, "EUR"): 30, (2, "EUR"): 10, (3, "EUR"): 60, (11, "USD"): 20}),
    ],
)
def test_the_pipeline_as_of_a_day(
    played: Warehouse, day: int, expected: dict[tuple[int, str], int]
) -> None:
    """As it was, whatever happened later."""
    found = rows(
        played,
        f"select stage_name, currency, deals, amount from pipeline_as_of('2026-01-{day}')",
    )

    assert {(STAGE_OF[name], currency): deals for name, currency, deals, _ in found} == expected
    assert all(
        amount == deals * (200 if currency == "USD" else 100)
        for _, currency, deals, amount in found
    )


def test_the_pipeline_of_today(played: Warehouse) -> None:
    """Open and not archived: 1: 141 to 150, 181 to 190. 2: 131 to 140. 3: 41 to 60, 81 to 100."""
    today = rows(played, "select stage_name, currency, deals from pipeline_today")

    assert {(STAGE_OF[name], currency): deals for name, currency, deals in today} == {
        (1, "EUR"): 20,
        (2, "EUR"): 10,
        (3, "EUR"): 40,
    }
    as_of = rows(played, "select stage_name, currency, deals from pipeline_as_of(current_date)")
    assert sorted(as_of) == sorted(today)
