"""Seeded rows are sorted by arithmetic; these tests sort them by hand and compare."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipedrive_pipeline.sandbox.pipedrive.world.kind import SortField
from pipedrive_pipeline.sandbox.pipedrive.world.order import SeededOrder

FIELDS: tuple[SortField, ...] = ("id", "add_time", "update_time")
orders = st.builds(
    lambda size, seed, share: SeededOrder(size, seed, int(size * share)),
    st.integers(0, 400),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)


@settings(max_examples=60, deadline=None)
@given(orders, st.sampled_from(FIELDS))
def test_every_order_lists_each_id_once_and_sorted_with_ties_by_id(
    order: SeededOrder, field: SortField
) -> None:
    keys = [order.key_at(field, rank) for rank in range(order.size)]

    assert sorted(key[1] for key in keys) == list(range(1, order.size + 1))
    assert keys == sorted(keys)


@settings(max_examples=60, deadline=None)
@given(orders, st.sampled_from(FIELDS))
def test_a_key_is_found_at_its_own_rank(order: SeededOrder, field: SortField) -> None:
    for rank in range(0, order.size, 7):
        assert order.rank_of(field, order.key_at(field, rank)) == rank


@settings(max_examples=40, deadline=None)
@given(orders)
def test_no_row_was_edited_before_it_was_added(order: SeededOrder) -> None:
    assert all(
        order.add_time(row_id) <= order.update_time(row_id) for row_id in range(1, order.size + 1)
    )


def test_a_bulk_edit_shares_one_second_in_the_middle_of_the_time_line() -> None:
    order = SeededOrder(1_000, 7, same_second=300)

    bulk = {order.update_time(row_id) for row_id in range(701, 1_001)}
    others = [order.update_time(row_id) for row_id in range(1, 701)]
    assert len(bulk) == 1
    (second,) = bulk
    assert sum(at < second for at in others) == 350
    assert sum(at > second for at in others) == 350


def test_seeded_neighbours_share_seconds_two_by_two() -> None:
    order = SeededOrder(1_000, 7)

    assert len({order.update_time(row_id) for row_id in range(1, 1_001)}) == 500
