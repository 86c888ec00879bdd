"""What a first read costs at least and at most, before a record is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipedrive_pipeline.connectors.contract import Entity
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.connectors.refusals import SourceRefused
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.daily_budget import cost_of_increment
from pipedrive_pipeline.sync.budget.pricing import Price, TokenRange, price
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.sync.conftest import ACME, SYSTEM, ControlTables


@dataclass
class Counted:
    """A source that knows its highest ids."""

    highest: Mapping[str, int]
    refused: str | None = None  # an entity that the plan lacks
    asked: list[str] = field(default_factory=list)

    async def size_hint(self, entity: Entity) -> int | None:
        """See `contract.Source.size_hint`."""
        self.asked.append(entity.name)
        if entity.name == self.refused:
            raise SourceRefused("acme", "Pipedrive", f"size {entity.name}", 402, "not in the plan")
        return self.highest.get(entity.name)


def priced(
    warehouse: Warehouse,
    names: list[str],
    highest: Mapping[str, int],
    *,
    refused: str | None = None,
) -> Price:
    """The price of a first read of these entities."""
    source = Counted(highest, refused)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        yield source

    entities = [PIPEDRIVE.by_name[name] for name in names]
    return price(
        warehouse,
        Scope(ACME, SYSTEM),
        entities,
        open_source=opened,
        daily_limit=lambda: 30_000,
    )


def test_a_hundred_thousand_deals_with_products_have_a_price_of_two_ends(
    control: ControlTables,
) -> None:
    """All may be on the dear list of archived deals; two calls read the lines of 100 deals."""
    first = priced(control.warehouse, ["deals", "deal_products"], {"deals": 100_000})

    assert first.ranges == {
        "deals": TokenRange(30 + 10, 30 + 199 * 20 + 30),
        "deal_products": TokenRange(0, 2 * 1_000 * 10),
    }
    assert str(first) == (
        "40 to 24,040 tokens, 80 % of 30,000, "
        "if there are at most 10 deal_products for each of deals"
    )


def test_children_are_priced_by_their_parents_even_alone(control: ControlTables) -> None:
    alone = priced(control.warehouse, ["deal_changes"], {"deals": 300})

    assert alone.ranges == {"deal_changes": TokenRange(0, 300 * 20)}


def test_an_entity_that_the_plan_lacks_has_a_price(control: ControlTables) -> None:
    """A full read was refused as a whole, because its price was, although it skips the entity."""
    lacking = priced(control.warehouse, ["deals", "leads"], {"deals": 300}, refused="leads")

    assert lacking.ranges == {"deals": TokenRange(40, 60), "leads": TokenRange(80, 120)}
    assert lacking.assumptions == ()


def test_a_required_entity_that_is_refused_has_no_price(control: ControlTables) -> None:
    """The read would fail, too: the person who must act is named before it begins."""
    assert PIPEDRIVE.by_name["organizations"].is_required

    with pytest.raises(SourceRefused, match="status 402"):
        priced(control.warehouse, ["organizations"], {}, refused="organizations")


def test_a_price_names_the_number_that_it_assumes(control: ControlTables) -> None:
    """The source told no number of them, so the greatest price is one page's."""
    unknown = priced(control.warehouse, ["leads"], {})
    known = priced(control.warehouse, ["leads"], {"leads": 4_000})

    assert str(unknown) == (
        "80 to 120 tokens, less than 1 % of 30,000, if there are at most 500 leads"
    )
    assert known.assumptions == ()


@pytest.mark.parametrize(
    ("names", "tokens"),
    [(["deals"], 30), (["leads"], 20), (["deal_products"], 0), (["pipelines", "stages"], 10)],
)
def test_a_sync_without_changes_is_priced_by_its_lists(names: list[str], tokens: int) -> None:
    assert cost_of_increment(PIPEDRIVE.by_name[name] for name in names) == tokens
