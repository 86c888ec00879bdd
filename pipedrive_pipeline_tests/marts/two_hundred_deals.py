"""A scripted account of 200 deals over seven weeks, and what its figures must be.

Deals of one group go the same way. Days are counted from the first of January 2026, UTC; everything
happens at midnight. A deal is worth 100 EUR, one that changes its pipeline 200 USD.

| deals | way |
|---|---|
| 1 to 20 | stage 1, on day 5 to 2, day 10 to 3, day 15 to 4, won on day 20 |
| 21 to 40 | day 5 to 2, lost there on day 12 |
| 41 to 60 | day 5 to 2, day 8 back to 1, day 11 to 2, day 18 to 3 |
| 61 to 80 | day 6 to 3 (2 is skipped), won on day 10, reopened on 14, won on day 34 (3 February) |
| 81 to 100 | day 5 to 2, lost on day 9, reopened on 15, day 19 to 3 |
| 101 to 120 | day 5 to 2, archived on day 12, open |
| 121 to 130 | stay in 1; on day 12 merged into 131 to 140 |
| 131 to 140 | day 9 to 2 |
| 141 to 150 | leads that become deals on day 8, in 1 |
| 151 to 160 | in 1; on day 16 turned into leads |
| 161 to 180 | day 5 to 2, day 12 to stage 11 of another pipeline, won on day 41 (10 February) |
| 181 to 185 | on day 6 to 2 and on day 7 back to 1, between two reads |
| 186 to 190 | stay in 1 |
| 191 to 200 | in 1, deleted on day 22 |

Computed by hand:

* Live deals: 200 less 10 merged, 10 turned into leads and 10 deleted: 170.
* Visits of live deals in stage 1: one each, but two of each of 41 to 60 and 181 to 185: 195. In 2:
  1 to 60, 81 to 120, 131 to 140, 161 to 180, with two of each of 41 to 60: 150. In 3: 80, in 4 and
  in 11: 20.
* Days open per deal and stage, all visits together, of deals that are not open there now.
  Stage 1: 100 deals with 4 days (1 to 40, 81 to 120, 161 to 180), 20 with 5, 20 with 7 (4 and 3),
  10 with 8; the median of 150 is 4. Stage 2: 20 with 5, 40 with 7, 20 with 8 (4 until lost, 4 from
  the reopening), 20 with 10 (3 and 7); the median is 7. Stage 3: 20 with 5, 20 with 24 (4 until
  won, 20 from the reopening); the median is 14.5. Stage 4: 5. Stage 11: 29.
* Wins in January by history: 20 (1 to 20) and 20 (61 to 80); by what the deals are now: 20. In
  February by both: 20 and 20. Losses in January by history: 20 (21 to 40) and 20 (81 to 100); by
  what they are now: 20.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from pipedrive_pipeline_tests.marts.raw_tables import RawTables, user

STAGES: Final = {1: (1, "New"), 2: (1, "Contacted"), 3: (1, "Offer"), 4: (1, "Negotiation")} | {
    11: (2, "Renewal"),
    12: (2, "Signed"),
}
PIPELINES: Final = {1: "Sales", 2: "Renewals"}
LIVE_DEALS: Final = 170
DEALS_VISITED: Final = {1: 170, 2: 130, 3: 80, 4: 20, 11: 20}  # live deals, each once
DEALS_REACHED: Final = {1: 170, 2: 150, 3: 80, 4: 20, 11: 20, 12: 0}  # this stage or a later one
VISITS: Final = {1: 195, 2: 150, 3: 80, 4: 20, 11: 20}
MEDIAN_OPEN_DAYS: Final = {1: 4.0, 2: 7.0, 3: 14.5, 4: 5.0, 11: 29.0}
WON_BY_MONTH: Final = {"in_history": {"01": 40, "02": 40}, "current": {"01": 20, "02": 40}}
LOST_BY_MONTH: Final = {"in_history": {"01": 40}, "current": {"01": 20}}
Way = dict[int, dict[str, Any]]  # what changes, by day


def day(number: int) -> str:
    """Midnight of a day, counted from the first of January 2026."""
    month, within = (1, number) if number <= 31 else (2, number - 31)
    return f"2026-{month:02}-{within:02}T00:00:00Z"


def _to(stage: int, on: int) -> dict[str, Any]:
    pipeline, _ = STAGES[stage]
    return {"stage_id": stage, "pipeline_id": pipeline, "stage_change_time": day(on)}


def _won(on: int) -> dict[str, Any]:
    return {"status": "won", "won_time": day(on), "close_time": day(on)}


def _lost(on: int) -> dict[str, Any]:
    return {"status": "lost", "lost_time": day(on), "close_time": day(on), "lost_reason": "Price"}


REOPENED: Final = {
    "status": "open",
    "won_time": None,
    "lost_time": None,
    "close_time": None,
    "lost_reason": None,
}
DELETED: Final = {"status": "deleted", "is_deleted": True}
WAYS: Final[tuple[tuple[range, Way], ...]] = (
    (range(1, 21), {1: {}, 5: _to(2, 5), 10: _to(3, 10), 15: _to(4, 15), 20: _won(20)}),
    (range(21, 41), {1: {}, 5: _to(2, 5), 12: _lost(12)}),
    (range(41, 61), {1: {}, 5: _to(2, 5), 8: _to(1, 8), 11: _to(2, 11), 18: _to(3, 18)}),
    (
        range(61, 81),
        {
            1: {},
            6: _to(3, 6),
            10: _won(10) | {"first_won_time": day(10)},
            14: REOPENED,
            34: _won(34),
        },
    ),
    (range(81, 101), {1: {}, 5: _to(2, 5), 9: _lost(9), 15: REOPENED, 19: _to(3, 19)}),
    (
        range(101, 121),
        {1: {}, 5: _to(2, 5), 12: {"is_archived": True, "archive_time": day(12)}},
    ),
    (range(121, 131), {1: {}}),
    (range(131, 141), {1: {}, 9: _to(2, 9)}),
    (range(141, 151), {8: {}}),
    (range(151, 161), {1: {}, 16: DELETED}),
    (range(161, 181), {1: {}, 5: _to(2, 5), 12: _to(11, 12), 41: _won(41)}),
    (range(181, 186), {1: {}, 7: _to(1, 7)}),
    (range(186, 191), {1: {}}),
    (range(191, 201), {1: {}, 22: DELETED}),
)
MERGED: Final = {number: number + 10 for number in range(121, 131)}  # on day 12
LEADS_THAT_BECAME_DEALS: Final = {number: f"lead-{number}" for number in range(141, 151)}
DEALS_THAT_BECAME_LEADS: Final = {number: f"lead-{number}" for number in range(151, 161)}


def play(raw: RawTables, *, after_each_day: Callable[[], object] = lambda: None) -> None:
    """Reads the account on each day on which something happened, by a load a day.

    Args:
        raw: the tenant's raw tables; the rows come into them as a sync leaves them.
        after_each_day: called after each load, such as a build.
    """
    raw.load(users=[user(1, "Anna")], pipelines=[*_pipelines()], stages=[*_stages()])
    states: dict[int, dict[str, Any]] = {}
    for today in sorted({on for _, way in WAYS for on in way}):
        read = [
            _read(states, number, today, way[today])
            for numbers, way in WAYS
            if today in way
            for number in numbers
        ]
        raw.load(deals=read, leads=[*_leads(today)])
        if today == 12:
            raw.announce("mark")
            for loser, winner in MERGED.items():
                raw.mark("deals", loser, "merged", merged_into=winner)
        if today == 8:
            raw.announce("mark")
            for lead in LEADS_THAT_BECAME_DEALS.values():
                raw.mark("leads", lead)
        after_each_day()


def _read(
    states: dict[int, dict[str, Any]], number: int, today: int, changes: dict[str, Any]
) -> dict[str, Any]:
    """A deal as it is read on a day, in its whole state."""
    states.setdefault(number, _new_deal(number, today)).update(changes, update_time=day(today))
    return dict(states[number])


def _new_deal(number: int, today: int) -> dict[str, Any]:
    is_abroad = 161 <= number <= 180
    return {
        "id": number,
        "title": f"Deal {number}",
        "owner_id": 1,
        "stage_id": 1,
        "pipeline_id": 1,
        "status": "open",
        "value": 200 if is_abroad else 100,
        "currency": "USD" if is_abroad else "EUR",
        "add_time": day(today),
        "is_deleted": False,
        "is_archived": False,
        "source_lead_id": LEADS_THAT_BECAME_DEALS.get(number),
        "label_ids": [],
        "custom_fields": {},
    }


def _leads(today: int) -> Iterable[dict[str, Any]]:
    if today == 1:
        for number, lead in LEADS_THAT_BECAME_DEALS.items():
            yield _lead(lead, number, day(1))
    if today == 16:
        for number, lead in DEALS_THAT_BECAME_LEADS.items():
            yield _lead(lead, number, day(16)) | {"source_deal_id": number}


def _lead(key: str, number: int, made: str) -> dict[str, Any]:
    return {
        "id": key,
        "title": f"Deal {number}",
        "owner_id": 1,
        "value": {"amount": 100, "currency": "EUR"},
        "label_ids": [],
        "is_archived": False,
        "add_time": made,
        "update_time": made,
    }


def _pipelines() -> Iterable[dict[str, Any]]:
    for key, name in PIPELINES.items():
        yield {"id": key, "name": name, "order_nr": key, "is_deleted": False}


def _stages() -> Iterable[dict[str, Any]]:
    for key, (pipeline, name) in STAGES.items():
        yield {
            "id": key,
            "name": name,
            "pipeline_id": pipeline,
            "order_nr": key,
            "is_deleted": False,
            "deal_probability": 100,
        }
