"""Ids as the API prints them. Inside, every record has a number, counted from 1 in its kind."""

from __future__ import annotations

import re

from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind

_UUID = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-11ef-9a5d-0242ac120002")


def printed_id(kind: RecordKind, number: int) -> int | str:
    """The id of a record in answers: its number, or a UUID of version 1 that contains it."""
    if kind.id_form == "number":
        return number
    return f"{number:08x}-{_tag(kind)}-11ef-9a5d-0242ac120002"


def number_of(kind: RecordKind, printed: int | str) -> int:
    """The number of a record; numbers pass unchanged.

    Raises:
        LookupError: the text is no id of this kind.
    """
    if isinstance(printed, int):
        return printed
    match = _UUID.fullmatch(printed)
    if kind.id_form != "uuid" or match is None or match[2] != _tag(kind):
        raise LookupError(f"{printed!r} is no id of {kind.name}")
    return int(match[1], 16)


def _tag(kind: RecordKind) -> str:
    return f"{sum(kind.name.encode()) & 0xFFFF:04x}"
