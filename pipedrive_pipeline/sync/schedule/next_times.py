"""When the schedule will sync a tenant next, for people who set its time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from pipedrive_pipeline.sync.schedule.due import is_sync_day, latest_daily

DAYS_AHEAD = 366  # every change of clocks of a year


def next_times(
    now: datetime, at: time, zone: ZoneInfo, *, every_hours: int | None = None, count: int = 3
) -> list[datetime]:
    """Returns the next instants at which a sync will be due, in UTC, soonest first.

    Args:
        now: an instant in UTC.
        at: the time of the daily sync, on the zone's clocks.
        zone: the time zone.
        every_hours: hours between two syncs, counted from ``at``; more than 24 are full days. None:
            once a day.
        count: how many.
    """
    today = latest_daily(now, at, zone).astimezone(zone).date()
    return list(
        islice((slot for slot in _slots(today, at, zone, every_hours) if slot > now), count)
    )


def skipped_day(now: datetime, at: time, zone: ZoneInfo) -> date | None:
    """Returns the next day on which a change of clocks skips this time; None within a year."""
    today = now.astimezone(zone).date()
    days = (today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD))
    return next(
        (day for day in days if _instant(day, at, zone).astimezone(zone).time() != at), None
    )


def _slots(first: date, at: time, zone: ZoneInfo, every_hours: int | None) -> Iterator[datetime]:
    days = (first + timedelta(days=ahead) for ahead in range(DAYS_AHEAD))
    for day in days:
        if not is_sync_day(day, every_hours):
            continue
        daily = _instant(day, at, zone)
        following = _instant(day + timedelta(days=1), at, zone)
        yield daily
        if every_hours:
            later = (daily + timedelta(hours=every_hours * number) for number in itertools.count(1))
            yield from takewhile(lambda slot: slot < following, later)  # noqa: B023 - used at once


def _instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, at, tzinfo=zone).astimezone(UTC)
