"""The names of kinds of records and of tables, in the reader's language."""

from __future__ import annotations

from pipedrive_pipeline.connect.pages import texts
from pipedrive_pipeline.connect.pages.display import Display
from pipedrive_pipeline.connectors import registry


def mart_label(display: Display, mart: str) -> str:
    """The name of a table of ours."""
    key = f"table.{mart}"
    return display.text(key) if key in texts.catalogue(display.language) else mart


def entity_label(display: Display, system: str, entity: str) -> str:
    """The name of a kind of records, as its system calls them."""
    key = f"records.{entity}"
    if key in texts.catalogue(display.language):
        return display.text(key)
    declared = registry.system(system).by_name.get(entity)
    return declared.label if declared else entity
