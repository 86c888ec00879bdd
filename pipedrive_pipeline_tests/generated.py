"""Parts of documents that are written from declarations: compared, or with UPDATE_DOCS written."""

from __future__ import annotations

import os
import re
from pathlib import Path

COMMAND = "UPDATE_DOCS=1 uv run --frozen --group dev pytest -m generated"
HOW_TO_RENEW = f"`{COMMAND}` writes it"


def assert_part(page: Path, name: str, lines: list[str]) -> None:
    """Asserts that the lines are in a page between ``<!-- name: … -->`` and ``<!-- end -->``."""
    part = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end -->)", re.DOTALL)
    before = page.read_text(encoding="utf-8")
    after, count = part.subn(lambda found: found[1] + "\n".join(lines) + "\n" + found[2], before)
    assert count == 1, f"{page} has no part {name}"
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(after, encoding="utf-8")
        return
    assert before == after, f"{page}: {HOW_TO_RENEW}"
