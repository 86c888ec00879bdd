"""Pipedrive's envelope: ``success``, ``data`` and the next cursor.

Belongs here: from a good answer to records as sent.
Does not belong here: what a walk does with a page (`walks.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec
from msgspec import Raw

from pipedrive_pipeline.connectors.answers import Answer
from pipedrive_pipeline.connectors.base import Record
from pipedrive_pipeline.connectors.jsontext import NotReadable, Reader

T = TypeVar("T")


class _Further(msgspec.Struct):
    next_cursor: str | None = None


class _Listed(msgspec.Struct):
    data: list[dict[str, Raw]] | None = None
    success: bool | None = None
    additional_data: _Further | None = None


class _Single(msgspec.Struct):
    data: dict[str, Raw] | None = None
    success: bool | None = None


@dataclass(frozen=True)
class Listed:
    """One answer of a list."""

    records: list[Record]
    next_cursor: str | None
    sent_at: datetime | None  # by the server's clock
    size_bytes: int  # of the body
    mended_count: int  # values that were no JSON and are now JSON strings
    sent: int  # of the request, see `base.Page`
    arrived: int


_read_list = Reader(_Listed)
_read_single = Reader(_Single)


def listed(answer: Answer) -> Listed:
    """The records of a list answer.

    Raises:
        NotReadable: a web page, cut, no JSON, no list, or ``success`` is not true.
    """
    _refuse_html(answer)
    envelope, mended_count = _read_list(answer.body)
    records = _told(envelope.success, envelope.data)
    further = envelope.additional_data
    cursor = further.next_cursor if further else None
    if cursor == "":
        raise NotReadable("the next cursor is empty text, neither a cursor nor null")
    return Listed(
        records,
        cursor,
        answer.sent_at,
        len(answer.body),
        mended_count,
        answer.sent,
        answer.arrived,
    )


def single(answer: Answer) -> Record:
    """The record of an answer that holds one.

    Raises:
        NotReadable: as `listed`.
    """
    _refuse_html(answer)
    envelope, _ = _read_single(answer.body)
    return _told(envelope.success, envelope.data)


def _refuse_html(answer: Answer) -> None:
    if answer.is_html:
        raise NotReadable(f"a web page came instead of data (status {answer.status})")


def _told(success: bool | None, data: T | None) -> T:
    """The data of an answer that says that it is one."""
    if success is not True:
        raise NotReadable("status 200, but the body does not say success: true")
    if data is None:
        raise NotReadable("the body holds no data")
    return data
