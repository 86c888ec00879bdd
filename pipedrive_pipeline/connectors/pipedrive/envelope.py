"""Pipedrive's envelope: ``success``, ``data``, and whether the list goes on.

It also reads a record's id and stamp, and leaves the record's other values undecoded.

A v2 list says where it goes on in ``additional_data.next_cursor``: text, or null at its end. An
answer without that key does not say whether it is the end, so it is refused and asked again. A v1
list that is paged by offset says in ``more_items_in_collection`` whether it goes on, and its
``data`` is null where it is empty. A v1 list that is read as a whole has neither; where it says
that there is more, it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Generic, TypeVar

import msgspec
from msgspec import Raw

from pipedrive_pipeline.connectors.answers import HttpAnswer
from pipedrive_pipeline.connectors.contract import MisfitEntry, Page, Record
from pipedrive_pipeline.connectors.jsontext import JsonReader, NotReadable
from pipedrive_pipeline.connectors.pipedrive.endpoints import Paging

Data = TypeVar("Data")
Additional = TypeVar("Additional")
MORE = "more"  # in place of a cursor, in a list that is paged by offset
STAMP = "%Y-%m-%dT%H:%M:%SZ"  # as a parameter; fractions are answered with 400

Version = tuple[bytes, str]
"""A record's id and stamp; an edit gives another version."""


class _Envelope(msgspec.Struct, Generic[Data, Additional]):
    data: Data | None = None
    success: bool | None = None
    additional_data: Additional | None = None


class _Further(msgspec.Struct):
    next_cursor: str | msgspec.UnsetType | None = msgspec.UNSET


class _Pagination(msgspec.Struct):
    """Of v1: nested as ``pagination``, or flat; some answers of v1 have a cursor instead."""

    more_items_in_collection: bool | None = None
    next_start: int | None = None
    next_cursor: str | None = None
    pagination: _Pagination | None = None

    @property
    def goes_on(self) -> bool:
        """True if any of its forms says that there is another page."""
        is_more = self.more_items_in_collection or self.next_start is not None
        return bool(is_more or self.next_cursor or (self.pagination and self.pagination.goes_on))


@dataclass(frozen=True)
class ListPage(Page):
    """A page of a list, with where the list goes on."""

    next_cursor: str | None = None
    sent_at: datetime | None = None  # by the server's clock

    @property
    def is_empty(self) -> bool:
        """True if the list has no entry at all."""
        return not self.records and not self.misfits


_read_list = JsonReader(_Envelope[list[Record], _Further])
_read_entries = JsonReader(_Envelope[list[Raw], _Further])
_read_whole = JsonReader(_Envelope[list[Record], _Pagination])
_read_whole_entries = JsonReader(_Envelope[list[Raw], _Pagination])
_read_single = JsonReader(_Envelope[Record, Raw])
_as_record = msgspec.json.Decoder(Record)


def listed(answer: HttpAnswer) -> ListPage:
    """The records of one page of a list that is paged by cursor.

    Raises:
        NotReadable: a web page, cut, no JSON, no list, ``success`` is not true, or the answer does
            not say whether it is the last page.
    """
    return _page(answer, _read_list, _read_entries, _next_cursor)


def whole(answer: HttpAnswer) -> ListPage:
    """The records of a list that is not paged.

    Raises:
        NotReadable: as `listed`; or the answer says that there are more records than it holds.
    """
    return _page(answer, _read_whole, _read_whole_entries, _no_cursor)


def offset_listed(answer: HttpAnswer) -> ListPage:
    """The records of one page of a v1 list; its cursor is `MORE` where another page follows.

    Raises:
        NotReadable: as `listed`.
    """
    return _page(answer, _read_whole, _read_whole_entries, _more, is_null_empty=True)


def changes_listed(answer: HttpAnswer) -> ListPage:
    """The records of one page of a v1 list that is paged by cursor; no cursor is its end.

    Raises:
        NotReadable: as `listed`, but for a missing cursor.
    """
    return _page(answer, _read_whole, _read_whole_entries, _v1_cursor, is_null_empty=True)


READERS: Mapping[Paging, Callable[[HttpAnswer], ListPage]] = MappingProxyType(
    {"cursor": listed, "offset": offset_listed, "whole": whole}
)
"""How the pages of an entity's own lists are read; its children's may differ."""


def single(answer: HttpAnswer) -> Record:
    """The record of an answer that holds one.

    Raises:
        NotReadable: a web page, cut, no JSON, no record, or ``success`` is not true.
    """
    _refuse_html(answer)
    envelope, _ = _read_single(answer.body)
    return _data(envelope)


def stamp(text: str) -> datetime | None:
    """An instant in whole seconds UTC; None if the text is none."""
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at.replace(microsecond=0)


def text_of(record: Record, key: str) -> str:
    """The text value of a key; empty if it is absent or no text."""
    raw = bytes(record.get(key, b"null"))
    return msgspec.json.decode(raw, type=str) if raw.startswith(b'"') else ""


def id_of(record: Record, key: str = "id") -> bytes:
    """A record's id as its JSON text; ``null`` if it is absent."""
    return bytes(record.get(key, b"null"))


def version(record: Record, key: str = "id") -> Version:
    """The record's id and stamp; the latter is empty if the record has none."""
    return id_of(record, key), text_of(record, "update_time")


def _page(
    answer: HttpAnswer,
    read: JsonReader[_Envelope[list[Record], Additional]],
    read_entries: JsonReader[_Envelope[list[Raw], Additional]],
    next_cursor: Callable[[Additional | None], str | None],
    *,
    is_null_empty: bool = False,
) -> ListPage:
    """A list's page; entries that are no records are set aside, at the price of a second look."""
    _refuse_html(answer)
    misfits: tuple[MisfitEntry, ...] = ()
    try:
        envelope, mended_count = read(answer.body)
        additional = envelope.additional_data
        is_empty = is_null_empty and envelope.success is True and envelope.data is None
        records = [] if is_empty else _data(envelope)
    except NotReadable:
        entries, mended_count = read_entries(answer.body)
        (records, misfits), additional = _sorted_out(_data(entries)), entries.additional_data
    return ListPage(
        records,
        answer.sent,
        answer.arrived,
        size_bytes=len(answer.body),
        mended_count=mended_count,
        misfits=misfits,
        next_cursor=next_cursor(additional),
        sent_at=answer.sent_at,
    )


def _sorted_out(entries: list[Raw]) -> tuple[list[Record], tuple[MisfitEntry, ...]]:
    records: list[Record] = []
    misfits: list[MisfitEntry] = []
    for place, entry in enumerate(entries, start=1):
        try:
            records.append(_as_record.decode(entry))
        except msgspec.ValidationError:
            misfits.append(MisfitEntry(place, bytes(entry)))
    return records, tuple(misfits)


def _next_cursor(further: _Further | None) -> str | None:
    if further is None or further.next_cursor is msgspec.UNSET:
        raise NotReadable("the list does not say whether it goes on: it has no next_cursor")
    if further.next_cursor == "":
        raise NotReadable("the next cursor is empty text, neither a cursor nor null")
    return further.next_cursor


def _more(pagination: _Pagination | None) -> str | None:
    stated = pagination and (pagination.pagination or pagination)
    if not stated or stated.more_items_in_collection is None:
        raise NotReadable("the list does not say whether it goes on")
    return MORE if stated.goes_on else None


def _v1_cursor(pagination: _Pagination | None) -> str | None:
    stated = pagination and (pagination.pagination or pagination)
    return (stated.next_cursor or None) if stated else None


def _no_cursor(pagination: _Pagination | None) -> None:
    if pagination and pagination.goes_on:
        raise NotReadable("a list that comes as a whole says that there are more records")


def _refuse_html(answer: HttpAnswer) -> None:
    if answer.is_html:
        raise NotReadable(f"a web page came instead of data (status {answer.status})")


def _data(envelope: _Envelope[Data, Additional]) -> Data:
    """The data of an answer that says that it is one."""
    if envelope.success is not True:
        raise NotReadable("status 200, but the body does not say success: true")
    if envelope.data is None:
        raise NotReadable("the body holds no data")
    return envelope.data
