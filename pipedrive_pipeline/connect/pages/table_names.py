"""The names of our tables, in the reader's language."""

from __future__ import annotations

from pipedrive_pipeline.connect.pages import texts
from pipedrive_pipeline.connect.pages.display import Display


def table_name(display: Display, mart: str) -> str:
    """The name of a table; its own if the catalogue has none."""
    key = f"table.{mart}"
    return display.text(key) if key in texts.catalogue(display.language) else mart
