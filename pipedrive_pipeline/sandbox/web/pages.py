"""The pages that people see: consent, and the account at a glance.

What belongs here: what the templates are given. What does not: what a click does (``control``).
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..options import Options
from ..world.account import Account

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def consent_page(account: Account, options: Options, query: dict[str, str]) -> str:
    """The page on which a user lets the app in, or does not."""
    return _TEMPLATES.get_template("consent.html").render(
        account=account, options=options, query=query
    )
