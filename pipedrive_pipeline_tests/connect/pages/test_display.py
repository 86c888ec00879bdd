"""Numbers and times as a reader of each language and zone sees them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from pipedrive_pipeline.connect.pages.display import Display
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE

NOW = datetime(2026, 11, 29, 8, 12, tzinfo=UTC)  # a Sunday, 09:12 in Berlin
ENGLISH = Display("en", ZoneInfo("Europe/Berlin"), NOW)
GERMAN = Display("de", ZoneInfo("Europe/Berlin"), NOW)


@pytest.mark.parametrize(
    ("before", "english", "german"),
    [
        (timedelta(seconds=20), "just now", "gerade eben"),
        (timedelta(minutes=4), "4 min ago", "vor 4 Min."),
        (timedelta(hours=2), "today 07:12", "heute 07:12"),
        (timedelta(hours=20), "yesterday 13:12", "gestern 13:12"),
        (timedelta(days=2), "Fri 09:12", "Fr. 09:12"),
        (timedelta(days=21), "8 Nov 09:12", "8. Nov. 09:12"),
        (timedelta(days=365), "29 Nov 2025 09:12", "29. Nov. 2025 09:12"),
        (timedelta(hours=-3), "today 12:12", "heute 12:12"),
        (timedelta(hours=-20), "tomorrow 05:12", "morgen 05:12"),
    ],
)
def test_an_instant_is_short_and_its_title_has_utc(
    before: timedelta, english: str, german: str
) -> None:
    """A near time is read at a glance; a person who must compare logs finds UTC on hover."""
    at = NOW - before

    shown = ENGLISH.when(at), GERMAN.when(at)

    assert [text.striptags() for text in shown] == [english, german]
    assert f'datetime="{at:%Y-%m-%dT%H:%M:%SZ}"' in shown[0]
    assert f"{at:%H:%M} UTC" in shown[0]


def test_something_that_lasts_began_at_a_time_of_day() -> None:
    assert ENGLISH.since(NOW - timedelta(minutes=4)).striptags() == "today 09:08"


def test_a_list_of_runs_shows_the_time_of_day_also_of_the_last_hour() -> None:
    assert ENGLISH.moment(NOW).striptags() == "29 Nov 09:12"
    assert ENGLISH.day(date(2025, 3, 1)) == "1 Mar 2025"
    assert ENGLISH.clock(NOW) == "09:12"


def test_numbers_are_grouped_as_the_language_does() -> None:
    assert (ENGLISH.number(1_200_000), GERMAN.number(1_200_000)) == ("1,200,000", "1.200.000")
    assert (ENGLISH.number(1.25, 1), GERMAN.number(1.25, 1)) == ("1.2", "1,2")
    assert [ENGLISH.compact(n) for n in (940, 1_240, 35_400, 999_600)] == [
        "940",
        "1.2k",
        "35k",
        "1.0M",
    ]
    assert ENGLISH.number(None) == "–"


def test_nearly_all_is_never_shown_as_all() -> None:
    assert [ENGLISH.percent(share) for share in (0, 0.0001, 0.5, 0.9999, 1, None)] == [
        *("0%", "1%", "50%", "99%", "100%", "–")
    ]


def test_a_duration_has_its_two_largest_units() -> None:
    seconds = (0.42, 48, 291, 3_600, 7_500, 273_600, None)

    assert [ENGLISH.duration(n) for n in seconds] == [
        *("0.4 s", "48 s", "4 min 51 s", "1 h", "2 h 5 min", "3 d 4 h", "–")
    ]


def test_a_zone_is_named_with_its_present_offset() -> None:
    zones = ("Europe/Berlin", "UTC", "Asia/Kolkata", "America/New_York")

    assert [Display("en", ZoneInfo(name), NOW).zone_name for name in zones] == [
        *("Berlin (UTC+1)", "UTC", "Kolkata (UTC+5:30)", "New York (UTC−5)")
    ]


def test_values_in_a_text_are_escaped_and_numbers_grouped() -> None:
    text = ENGLISH.text("common.times_in", zone="<svg onload=alert(1)>{zone}")

    assert text == "Times: &lt;svg onload=alert(1)&gt;{zone}"


def test_records_and_tables_have_the_names_of_their_declarations() -> None:
    """English ones were written twice; a language adds those that it knows."""
    for entity in ("deal_changes", "lead_labels", "organizations"):
        assert ENGLISH.records("pipedrive", entity) == PIPEDRIVE.by_name[entity].label
    assert GERMAN.records("pipedrive", "lead_labels") == "Etiketten von Leads"
    assert (ENGLISH.table("customers"), ENGLISH.table("product_prices")) == ("Customers", "Prices")
    assert ENGLISH.table("gadgets_of_ours") == GERMAN.table("gadgets_of_ours") == "Gadgets of ours"
