"""The visits of a scripted account of 200 deals are those that were computed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipedrive_pipeline.marts import RowCounts, build, publish_views
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts import two_hundred_deals as account
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables
from pipedrive_pipeline_tests.warehouse import databases
from pipedrive_pipeline_tests.warehouse.databases import ACME

ACME_IN_PIPEDRIVE = Scope(ACME, SYSTEM)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def played(postgres: str, template: str) -> Iterator[Warehouse]:
    """The account as it is after seven weeks, built once at the end."""
    with databases.database(postgres, template=template) as url:
        warehouse = Warehouse(url)
        account.play(RawTables(warehouse, ACME))
        build(warehouse, ACME_IN_PIPEDRIVE)
        publish_views(warehouse, ACME)
        yield warehouse


def by_stage(warehouse: Warehouse, expression: str) -> dict[int, Any]:
    """The value of an expression over the live visits of each stage."""
    query = (
        f"select stage_remote_id::integer, {expression} from crm.deal_stage_history"
        " where deleted_at is null group by 1"
    )
    return dict(rows(warehouse, query))


def rows(warehouse: Warehouse, query: str) -> list[tuple[Any, ...]]:
    with warehouse.transaction() as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.mark.slow
def test_visits_and_deals_of_each_stage(played: Warehouse) -> None:
    assert by_stage(played, "count(*)") == account.VISITS
    assert by_stage(played, "count(distinct deal_remote_id)") == account.DEALS_VISITED


def test_median_days_in_each_stage(played: Warehouse) -> None:
    """Of the deals that are not open in the stage now; all visits of a deal together."""
    medians = rows(
        played,
        """
        select
            visited.stage::integer,
            percentile_cont(0.5) within group (order by visited.seconds) / 86400
        from (
            select stage_remote_id as stage, sum(open_seconds) as seconds
            from crm.deal_stage_history
            where deleted_at is null
            group by stage_remote_id, deal_remote_id
            having count(*) = count(open_seconds)
        ) as visited
        group by visited.stage
        """,
    )

    assert dict(medians) == account.MEDIAN_OPEN_DAYS


@pytest.mark.parametrize(
    ("status", "expected"), [("won", account.WON_BY_MONTH), ("lost", account.LOST_BY_MONTH)]
)
def test_wins_and_losses_by_month_from_history(
    played: Warehouse, status: str, expected: dict[str, dict[str, int]]
) -> None:
    """Each one counts in its month, also of two in one stage with a reopening in between."""
    counted = rows(
        played,
        f"""
        select to_char((entry.item ->> 'at')::timestamptz, 'MM'), count(*)
        from crm.deal_stage_history
        cross join lateral jsonb_array_elements(deal_stage_history.statuses) as entry (item)
        where deal_stage_history.deleted_at is null
            and entry.item ->> 'status' = '{status}'
            and (entry.item ->> 'is_change')::boolean
        group by 1
        """,
    )

    assert dict(counted) == expected["in_history"]


def test_a_stage_to_which_a_deal_went_between_two_reads_is_not_invented(played: Warehouse) -> None:
    """But its own stage was left, and the end of that visit is not exact."""
    visits = rows(
        played,
        "select deal_remote_id, count(*), count(*) filter (where not left_at_is_exact)"
        " from crm.deal_stage_history where deal_remote_id::integer between 181 and 185"
        " group by 1",
    )

    assert {row[1:] for row in visits} == {(2, 1)}
    assert len(visits) == 5


def test_the_funnel_counts_each_deal_once(played: Warehouse) -> None:
    """Merged, converted and deleted deals are not in it; archived ones are."""
    funnel = rows(
        played,
        "select stages.pipedrive_id::integer, deal_funnel.deals_reached, deal_funnel.deals_visited,"
        " deal_funnel.median_days from analytics_acme.deal_funnel"
        " inner join crm.stages on stages.id = deal_funnel.stage_id",
    )

    assert {row[0]: row[1] for row in funnel} == account.DEALS_REACHED
    assert {row[0]: row[2] for row in funnel if row[2]} == account.DEALS_VISITED
    medians = {row[0]: float(row[3]) for row in funnel if row[3] is not None}
    assert medians == account.MEDIAN_OPEN_DAYS


def test_won_and_lost_by_month_as_they_are_and_as_they_were(played: Warehouse) -> None:
    counted = rows(
        played,
        "select to_char(month, 'MM'), sum(won_deals)::integer, sum(won_in_history)::integer,"
        " sum(lost_deals)::integer, sum(lost_in_history)::integer"
        " from analytics_acme.won_lost_monthly group by 1",
    )

    def by_month(column: int) -> dict[str, int]:
        return {row[0]: row[column] for row in counted if row[column]}

    assert [by_month(1), by_month(2)] == [
        account.WON_BY_MONTH["current"],
        account.WON_BY_MONTH["in_history"],
    ]
    assert [by_month(3), by_month(4)] == [
        account.LOST_BY_MONTH["current"],
        account.LOST_BY_MONTH["in_history"],
    ]


def test_each_reason_of_a_deal_that_is_gone_is_that_of_its_visits(played: Warehouse) -> None:
    reasons = rows(
        played,
        "select deals.deletion_reason, count(*), count(*) filter ("
        " where history.deletion_reason = deals.deletion_reason)"
        " from crm.deals inner join crm.deal_stage_history as history"
        " on history.deal_remote_id = deals.remote_id where deals.deleted_at is not null"
        " group by 1",
    )

    assert sorted(reasons) == [("converted", 10, 10), ("deleted", 10, 10), ("merged", 10, 10)]


@pytest.mark.slow
def test_building_after_each_day_gives_the_same_rows(played: Warehouse, raw: RawTables) -> None:
    """Of rows that were built once at the end, and of rows that grew day by day."""
    account.play(raw, after_each_day=lambda: build(raw.warehouse, ACME_IN_PIPEDRIVE))
    query = (
        "select remote_id, entered_at, left_at, left_at_is_exact, statuses, won_at, lost_at,"
        " reopened_at, open_seconds, amount, currency, origin, deletion_reason"
        " from crm.deal_stage_history order by remote_id"
    )

    assert rows(raw.warehouse, query) == rows(played, query)
    whole = build(raw.warehouse, ACME_IN_PIPEDRIVE, is_whole=True)
    assert whole.counts["deal_stage_history"] == RowCounts(
        unchanged=sum(account.VISITS.values()) + 30
    )
    assert whole.compared["deal_stage_history"].is_equal
