"""Opaque cursors of lists: the place where a page ended."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Query

from pipedrive_pipeline.connect.api.models import CURSOR_MAX_CHARACTERS, in_utc
from pipedrive_pipeline.errors import BadInput

Shown = TypeVar("Shown")
PAGE_ROWS, PAGE_ROWS_MAX = 50, 200

PageLimit = Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX, description="Rows of a page.")]
PageCursor = Annotated[
    str | None,
    Query(max_length=CURSOR_MAX_CHARACTERS, description="`next_cursor` of the page before."),
]


def encoded(*parts: object) -> str:
    """A cursor of a place, which is one or more values in the order of the list."""
    text = "|".join(part.isoformat() if isinstance(part, datetime) else str(part) for part in parts)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decoded(cursor: str, *kinds: Callable[[str], Any]) -> tuple[Any, ...]:
    """The values of a place; each kind reads one from its text.

    Raises:
        BadInput: it is not a cursor of this list.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        return tuple(kind(part) for kind, part in zip(kinds, text.split("|"), strict=True))
    except (ValueError, binascii.Error):
        raise BadInput("cursor: take it from `meta.pagination.next_cursor`, as it is.") from None


def versions_page(
    versions: Sequence[Shown], number: Callable[[Shown], int], limit: int, cursor: str | None
) -> tuple[Sequence[Shown], str | None]:
    """One page of versions, newest first, and the cursor of the next; None after the last.

    Raises:
        BadInput: the cursor is none of this list.
    """
    before = decoded(cursor, int)[0] if cursor else math.inf
    older = [version for version in versions if number(version) < before]
    page, is_more = older[:limit], len(older) > limit
    return page, encoded(number(page[-1])) if is_more else None


def instant(text: str) -> datetime:
    """A time with its offset, in UTC.

    Raises:
        ValueError: it is no time, or has no offset.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(text)
    return in_utc(at)


def row_number(text: str) -> int:
    """The number of a row.

    Raises:
        ValueError: it is none.
    """
    number = int(text)
    if not 0 < number < 2**63:
        raise ValueError(text)
    return number
