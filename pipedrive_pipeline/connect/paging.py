"""Cursors: where a page ended, in a form that its reader need not understand.

Belongs here: writing and reading one. Does not belong here: the query (`sync/runs.py`).
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from uuid import UUID

from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.sync.runs import Place

CURSOR_MAX_CHARACTERS = 200


def cursor_of(place: Place) -> str:
    """The place as a cursor."""
    text = f"{place.at.isoformat()}|{place.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(cursor: str) -> Place:
    """The place that a cursor stands for.

    Raises:
        BadInput: it is none of ours.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        at, _, run_id = (
            base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition("|")
        )
        place = Place(datetime.fromisoformat(at), UUID(run_id))
    except (ValueError, binascii.Error):
        raise BadInput("cursor: take it from `meta.pagination.next_cursor`, as it is.") from None
    if place.at.tzinfo is None:
        raise BadInput("cursor: take it from `meta.pagination.next_cursor`, as it is.")
    return place
