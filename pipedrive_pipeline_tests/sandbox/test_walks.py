"""Walks over seeded and edited rows agree with a sort of all rows after any edits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, ServerClock, seeded
from pipedrive_pipeline.sandbox.kit.clock import instant
from pipedrive_pipeline.sandbox.pipedrive.world.kind import SortField
from pipedrive_pipeline.sandbox.pipedrive.world.order import EDITED_UNTIL
from pipedrive_pipeline.sandbox.pipedrive.world.reading import listed
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk, sort_value
from pipedrive_pipeline_tests.sandbox.client import SandboxClient

PATH = "/api/v2/organizations"
SIZE = 40
stamps = st.sampled_from(
    [None, "2024-06-01T00:00:00Z", "2025-06-01T00:00:00Z", "2026-09-01T00:00:01Z"]
)
edits = st.lists(
    st.tuples(
        st.sampled_from(["edit", "delete", "restore", "create", "unstamp", "tick"]),
        st.integers(1, SIZE),
    ),
    max_size=12,
)


def _edited(steps: list[tuple[str, int]], same_second: int) -> CrmAccount:
    clock = ServerClock(lambda: EDITED_UNTIL)
    account = seeded(SIZE, 0, organization_fields=2, same_second=same_second, clock=clock)
    for step, row_id in steps:
        if step == "create":
            account.create("organizations", name="Neu")
        elif step == "unstamp":
            account.edit("organizations", row_id, update_time=None)
        elif step == "tick":
            clock.advance(1)
        elif step == "edit":
            account.edit("organizations", row_id, name="Anders")
        elif step == "delete":
            account.delete("organizations", row_id)
        else:
            account.restore("organizations", row_id)
    return account


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(
    edits,
    st.sampled_from([0, 15]),
    st.sampled_from(["id", "add_time", "update_time"]),
    st.booleans(),
    stamps,
    stamps,
    st.integers(0, 50),
)
def test_a_walk_from_any_key_equals_sorting_by_hand(  # noqa: PLR0917 (drawn values)
    steps: list[tuple[str, int]],
    same_second: int,
    field: SortField,
    descending: bool,
    since: str | None,
    until: str | None,
    start_place: int,
) -> None:
    account = _edited(steps, same_second)
    records = account.records["organizations"]
    everything = [records.get(row_id) for row_id in range(1, records.last_id + 1)]

    def key(row: dict[str, Any]) -> Any:
        return sort_value(row, field), row["id"]

    window = Walk(since=since, until=until)
    live = [row for row in everything if row and not row["is_deleted"] and row["id"] != SIZE + 1]
    by_hand = sorted(
        (row for row in live if window.holds(str(sort_value(row, "update_time")))),
        key=key,
        reverse=descending,
    )
    by_hand = by_hand[start_place % max(len(by_hand), 1) :]
    start = key(by_hand[0]) if by_hand else None
    walk = Walk(field, descending, start, since, until)

    rows = list(listed(account, "organizations", account.admin_id, walk))

    assert [row["id"] for row in rows] == [row["id"] for row in by_hand]


def test_a_row_edited_during_a_walk_by_time_comes_again_at_the_end(client: SandboxClient) -> None:
    """No snapshot: the walk sees the edit that was made between two of its pages."""
    walk = client.pages(PATH, limit=20, sort_by="update_time")
    first_page = next(walk)
    moved = first_page[3]["id"]
    client.sandbox.account.edit("organizations", moved, name="Während des Lesens")

    rows = first_page + [row for page in walk for row in page]

    assert len(rows) == 61
    assert [row["id"] for row in rows].count(moved) == 2
    assert rows[-1]["name"] == "Während des Lesens"


def test_a_row_edited_during_a_falling_walk_is_missed(client: SandboxClient) -> None:
    walk = client.pages(PATH, limit=20, sort_by="update_time", sort_direction="desc")
    row_ids = [row["id"] for row in next(walk)]
    oldest = client.ids(PATH, limit=1, sort_by="update_time")[0]
    client.sandbox.account.edit("organizations", oldest, name="Nach oben gerutscht")

    row_ids += [row["id"] for page in walk for row in page]

    assert oldest not in row_ids
    assert len(row_ids) == 59


def test_a_cursor_whose_row_is_gone_goes_on_with_the_next(client: SandboxClient) -> None:
    walk = client.pages(PATH, limit=20)
    next(walk)
    client.sandbox.account.delete("organizations", 21)

    assert next(walk)[0]["id"] == 22


def test_rows_of_one_second_cross_page_borders_whole(client: SandboxClient) -> None:
    """A cursor that remembered only the time would loop or skip here."""
    account = client.sandbox.account
    second = account.edit_many("organizations", range(1, 51), name="Alle zugleich")

    ids = client.ids(PATH, limit=7, sort_by="update_time", updated_since=second)

    assert ids == list(range(1, 51))


def test_the_window_of_edit_times_includes_its_start_and_excludes_its_end(
    client: SandboxClient, account: CrmAccount
) -> None:
    at = account.get("organizations", 30)["update_time"]
    twin = {row["id"] for row in client.rows(PATH) if row["update_time"] == at}
    later = instant(at).replace(year=2027).strftime("%Y-%m-%dT%H:%M:%SZ")

    since = set(client.ids(PATH, updated_since=at, updated_until=later))
    until = set(client.ids(PATH, updated_until=at))

    assert twin <= since
    assert not twin & until
    assert len(since) + len(until) == 60


def test_a_late_row_appears_after_its_delay_with_its_early_stamp(sandbox: Sandbox) -> None:
    sandbox.clock.freeze()
    late = sandbox.account.create("organizations", name="Spät sichtbar", visible_after_seconds=120)

    with SandboxClient(sandbox) as client:
        before = client.ids(PATH, limit=500)
        sandbox.clock.advance(121)
        after = client.rows(PATH, limit=500)

    assert late["id"] not in before
    assert after[-1]["id"] == late["id"]
    assert after[-1]["update_time"] == late["update_time"]
