"""The HTML pages of look-alikes: those that all share, and an environment for a system's own."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

SHARED = Path(__file__).parent / "templates"


@cache
def templates(*folders: Path) -> Environment:
    """The shared templates, and those of a system's folders before them."""
    return Environment(
        loader=FileSystemLoader([*folders, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
