"""Seeded lines and participants of deals, computed from the seed and the id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world.deal_seeds import (
    LINES_A_DEAL,
    SeededDeals,
    line_price,
    lines_of,
)
from pipedrive_pipeline.sandbox.pipedrive.world.order import SeededOrder
from pipedrive_pipeline.sandbox.pipedrive.world.seeds import SeededRows, draw_of

Record = dict[str, Any]
PLACES_A_DEAL = 2  # for its participants


class SeededLines(SeededRows):
    """Lines of deals: products with their price and quantity."""

    def __init__(
        self, order: SeededOrder, seed: int, deals: SeededDeals, products: SeededRows
    ) -> None:
        self.order = order
        self._seed, self._deals, self._products = seed, deals, products

    def row(self, row_id: int) -> Record:
        """One line as it was seeded."""
        deal_id = row_id + row_id % LINES_A_DEAL
        price, quantity = line_price(self._seed, row_id)
        draw = draw_of(self._seed, b"line product", row_id)
        product = self._products.row(1 + draw % self._products.order.size)
        return {
            "id": row_id,
            "deal_id": deal_id,
            "product_id": product["id"],
            "product_variation_id": None,
            "name": product["name"],
            "order_nr": 1 + (row_id % LINES_A_DEAL == 0),
            "item_price": price,
            "quantity": quantity,
            "discount": 0,
            "discount_type": "percentage",
            "sum": round(price * quantity, 2),
            "currency": self._deals.currency(deal_id),
            "tax": 19,
            "tax_method": "inclusive",
            "is_enabled": True,
            "comments": "",
            "billing_frequency": "one-time",
            "billing_frequency_cycles": None,
            "billing_start_date": None,
            "add_time": self.order.add_time(row_id),
            "update_time": self.order.update_time(row_id),
            "is_deleted": False,
        }

    def children_of(self, key: str, parent_id: int | str) -> Iterator[int]:
        """The lines of a deal without a search."""
        if key == "deal_id" and isinstance(parent_id, int):
            yield from lines_of(parent_id, self.order.size)
        else:
            yield from super().children_of(key, parent_id)


class SeededParticipants(SeededRows):
    """Two places for each deal: its own person, and a further one for every third deal.

    A place that nobody takes counts as deleted.
    """

    def __init__(
        self, order: SeededOrder, deals: SeededDeals, persons: int, owners: Sequence[int]
    ) -> None:
        self.order = order
        self._deals, self._persons, self._owners = deals, persons, owners

    def row(self, row_id: int) -> Record:
        """One participant as it was seeded."""
        deal_id, is_further = (row_id + 1) // PLACES_A_DEAL, row_id % PLACES_A_DEAL == 0
        person_id = self._deals.links(deal_id)[1]
        if is_further:
            person_id = 1 + deal_id * 5 % self._persons if deal_id % 3 == 0 else None
        return {
            "id": row_id,
            "deal_id": deal_id,
            "person_id": person_id,
            "added_by_user_id": self._owners[row_id % len(self._owners)],
            "add_time": self.order.add_time(row_id),
            "update_time": self.order.update_time(row_id),
            "is_deleted": person_id is None,
        }

    def children_of(self, key: str, parent_id: int | str) -> Iterator[int]:
        """The participants of a deal without a search."""
        if key == "deal_id" and isinstance(parent_id, int):
            last = parent_id * PLACES_A_DEAL
            yield from range(last - 1, last + 1) if 0 < last <= self.order.size else ()
        else:
            yield from super().children_of(key, parent_id)
