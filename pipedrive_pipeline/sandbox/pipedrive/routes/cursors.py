"""Pipedrive's cursors: they name the first row of the next page by sort value and id.

Source:
    The observed content is base64url JSON ``{"field","fieldValue","sortDirection","id"}``.
"""

from __future__ import annotations

import msgspec

from pipedrive_pipeline.sandbox.kit.cursors import opened, sealed
from pipedrive_pipeline.sandbox.pipedrive.answers import invalid
from pipedrive_pipeline.sandbox.pipedrive.world.order import Key
from pipedrive_pipeline.sandbox.pipedrive.world.records import NUMBERS


class _Content(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    field: str
    field_value: str | int
    sort_direction: str
    id: int
    issued_at: float | None = None


def written(
    field: str, key: Key, *, descending: bool = False, issued_at: float | None = None
) -> str:
    """A cursor that points at a key."""
    direction = "desc" if descending else "asc"
    return sealed(_Content(field, key[0], direction, key[1], issued_at))


def read(
    cursor: str,
    field: str,
    *,
    descending: bool = False,
    not_before: float | None = None,
) -> Key:
    """The key that a cursor points at.

    Args:
        cursor: as it was sent.
        field: the sort field of this request; a cursor of another order is refused.
        descending: the direction of this request.
        not_before: the earliest issue that is still accepted, in seconds; None accepts all.

    Raises:
        RequestRefused: 400, it is unknown, of another walk, or too old.
    """
    try:
        content = opened(cursor, _Content)
    except ValueError as error:
        raise invalid("Parameter 'cursor' is not valid") from error
    direction = "desc" if descending else "asc"
    if (content.field, content.sort_direction) != (field, direction):
        raise invalid("Parameter 'cursor' does not belong to this request")
    if isinstance(content.field_value, int) != (field in NUMBERS):
        raise invalid("Parameter 'cursor' is not valid")
    if not_before is not None and (content.issued_at or 0) < not_before:
        raise invalid("Parameter 'cursor' has expired")
    return content.field_value, content.id
