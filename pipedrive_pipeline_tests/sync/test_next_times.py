"""The next times that settings show: as the schedule itself will find them due."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from pipedrive_pipeline.sync.schedule.due import ScheduleStatus
from pipedrive_pipeline.sync.schedule.next_times import next_times, skipped_day

BERLIN = ZoneInfo("Europe/Berlin")
TWO = time(2, 0)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_daily_time_follows_the_clocks_of_its_zone() -> None:
    """The night of 28 March has no 02:00: the sync starts as long after midnight as always."""
    times = next_times(at("2027-03-27T00:59"), TWO, BERLIN)

    assert times == [at("2027-03-27T01:00"), at("2027-03-28T01:00"), at("2027-03-29T00:00")]
    assert skipped_day(at("2027-03-27T00:59"), TWO, BERLIN) == date(2027, 3, 28)
    assert skipped_day(at("2027-03-27T00:59"), time(4, 0), BERLIN) is None


def test_several_times_a_day_are_counted_from_the_daily_one() -> None:
    times = next_times(at("2026-07-01T12:00"), TWO, ZoneInfo("UTC"), every_hours=10)

    assert times == [at("2026-07-01T22:00"), at("2026-07-02T02:00"), at("2026-07-02T12:00")]


def test_a_day_of_26_hours_has_26_of_them() -> None:
    """In Troll the clocks change by two hours."""
    times = next_times(
        at("2027-10-30T23:30"), time(0, 0), ZoneInfo("Antarctica/Troll"), every_hours=1, count=40
    )

    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(hours=1)}


def test_more_than_24_hours_are_full_days() -> None:
    """A tenant that chose 168 hours was synced every day."""
    times = next_times(at("2026-07-01T12:00"), TWO, ZoneInfo("UTC"), every_hours=168)

    assert [later - earlier for earlier, later in pairwise(times)] == [timedelta(days=7)] * 2


@pytest.mark.parametrize("every_hours", [None, 1, 5, 24, 25, 48, 168])
@pytest.mark.parametrize("now", ["2026-10-24T23:30", "2027-03-28T00:30", "2026-12-31T23:59"])
def test_each_next_time_is_due_then_and_not_a_minute_before(
    now: str, every_hours: int | None
) -> None:
    """The page must not promise what the schedule does not do."""
    for slot in next_times(at(now), TWO, BERLIN, every_hours=every_hours):
        row = ScheduleStatus(
            tenant_id="acme",
            system="pipedrive",
            sync_time=TWO,
            time_zone="Europe/Berlin",
            every_hours=every_hours,
            connected_at=slot - timedelta(minutes=1),
            last_started_at=None,
            paused_until=None,
        )

        assert row.due_at(slot - timedelta(seconds=1)) is None
        assert row.due_at(slot) == slot
