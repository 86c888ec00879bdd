"""docs/entities.md: the table of what is read is written from the declarations."""

from __future__ import annotations

import os

import pytest

from pipedrive_pipeline.connectors.contract import Children, Entity
from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.settings import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "entities.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
HOW_TO_RENEW = "`UPDATE_DOCS=1 pytest -m generated` writes the table"


def table() -> str:
    """The rows of all entities, in the order of reading, and the sum of a sync without changes."""
    on = [entity for entity in PIPEDRIVE.entities if entity.is_on_by_default]
    every_sync = [entity for entity in on if entity.cycle_hours is None]
    sums = (
        f"A sync in which nothing changed costs **{unchanged(every_sync)}** tokens, and "
        f"**{unchanged(on)}** where every cycle has passed."
    )
    return "\n".join(
        [
            "| entity | default | tokens of a page | without changes | cycle | scopes |",
            "|---|---|---|---|---|---|",
            *map(row, PIPEDRIVE.entities),
            "",
            sums,
            "",
        ]
    )


def unchanged(entities: list[Entity]) -> int:
    """Tokens of reading no change of these entities."""
    return sum(entity.cost.tokens_of_no_change for entity in entities)


def row(entity: Entity) -> str:
    """One line of the table."""
    cost = entity.cost
    pages = " and ".join(map(str, (cost.tokens_per_page, *cost.further_lists)))
    if isinstance(entity.read, Children):
        batch = entity.read.batch
        pages += f" for {'each' if batch == 1 else f'each {batch}'} of `{entity.read.of}`"
        pages += f" with `{entity.read.due_by}`" if entity.read.due_by else ""
    cells = (
        f"`{entity.name}`",
        "on" if entity.is_on_by_default else "off",
        pages,
        cost.tokens_of_no_change,
        f"{entity.cycle_hours} hours" if entity.cycle_hours else "every sync",
        ", ".join(f"`{scope}`" for scope in entity.scopes),
    )
    return f"| {' | '.join(map(str, cells))} |"


@pytest.mark.generated
def test_the_page_of_entities_is_as_declared() -> None:
    """Whoever chooses what is read sees the price that the engine will pay."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    written, _, after = rest.partition(END)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}")
        written = table()

    assert written == table(), HOW_TO_RENEW
