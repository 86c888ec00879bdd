"""Single records by their ids, what became of one, and the lists of children of given parents."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Raw

from pipedrive_pipeline.connectors.answers import HttpAnswer, SourceCall
from pipedrive_pipeline.connectors.contract import Children, Page, Record, RecordStatus
from pipedrive_pipeline.connectors.http import Client
from pipedrive_pipeline.connectors.pipedrive.endpoints import IDS_LIMIT, PAGE_LIMIT, Endpoint
from pipedrive_pipeline.connectors.pipedrive.envelope import (
    ListPage,
    changes_listed,
    id_of,
    listed,
    offset_listed,
    single,
    text_of,
)
from pipedrive_pipeline.connectors.pipedrive.offsets import OffsetPlace
from pipedrive_pipeline.connectors.refusals import SourceRefused
from pipedrive_pipeline.errors import SourceBroke

Params = dict[str, str | int]
CHILD_PAGES_MAX = 1_000  # of one call's parents, 500 entries each
NOT_THERE = 404
SHAPING = frozenset({"include_fields"})  # parameters that say what a record shows, not which ones
TRUE, FALSE = b"true", b"false"


async def picked(client: Client, endpoint: Endpoint, ids: list[str]) -> list[Page]:
    """The answers with the records of these ids; unknown, deleted and invisible ones are absent.

    Of an entity with several lists, those that the first does not give are picked from the next.
    A single record is read by its own address, for a tenth of a list's price; only what is not
    live there is looked for on the lists, which show deleted records where they are asked for.
    """
    if not endpoint.takes_ids:
        return [page for each in ids for page in await _got(client, endpoint, each)]
    numbers = [text for text in ids if text.isascii() and text.isdigit()]
    if len(numbers) == 1 and endpoint.get_tokens is not None:
        pages_of_one = await _got(client, endpoint, numbers[0])
        if pages_of_one:
            return pages_of_one
    pages: list[Page] = []
    for start in range(0, len(numbers), IDS_LIMIT):
        wanted = numbers[start : start + IDS_LIMIT]
        for index in range(len(endpoint.lists)):
            if wanted:
                pages += await pick(client, endpoint, wanted, index)
                given = {id_of(record).decode() for page in pages for record in page.records}
                wanted = [text for text in wanted if text not in given]
    return pages


async def pick(client: Client, endpoint: Endpoint, ids: list[str], index: int = 0) -> list[Page]:
    """The answers with the records of at most 100 ids on one list; others are absent.

    If a page holds fewer records than requested, the next page is read: a record that is not read
    would be taken for deleted.

    Raises:
        SourceBroke: there are more pages than ids.
    """
    spec, records = endpoint.spec, endpoint.lists[index]
    params: Params = {**dict(records.params), "ids": ",".join(ids), "limit": PAGE_LIMIT}
    pages: list[Page] = []
    for _ in ids:
        call = SourceCall(f"pick {spec.name}", records.path, records.tokens, params)
        page = await client.fetch(call, listed)
        pages.append(page)
        if page.next_cursor is None:
            return pages
        params = {**params, "cursor": page.next_cursor}
    raise SourceBroke(
        f"Pipedrive, pick {spec.name}: an answer for {len(ids)} ids does not end; run again."
    )


async def _got(client: Client, endpoint: Endpoint, record_id: str) -> list[Page]:
    """The answer with one record; nothing for one that is deleted or may not be seen."""
    try:
        answer = await client.fetch(_get(endpoint, record_id), _with_numbers)
    except SourceRefused as error:
        if error.status not in {403, NOT_THERE}:
            raise
        return []
    record, sent, arrived = answer
    return [] if _is_deleted(record) else [Page([record], sent, arrived)]


async def record_status(client: Client, endpoint: Endpoint, record_id: str) -> RecordStatus:
    """What became of a record that lists no longer hold."""
    try:
        record = await client.fetch(_get(endpoint, record_id), single)
    except SourceRefused as error:
        if error.status not in {403, NOT_THERE}:
            raise
        return "invisible" if error.status == 403 else "deleted"
    return "deleted" if _is_deleted(record) else "live"


def _get(endpoint: Endpoint, record_id: str) -> SourceCall:
    path = f"{endpoint.path}/{record_id}"
    shaped = {key: value for key, value in endpoint.lists[0].params if key in SHAPING}
    return SourceCall(f"get {endpoint.spec.name}", path, endpoint.get_tokens or 0, shaped)


def _with_numbers(answer: HttpAnswer) -> tuple[Record, int, int]:
    return single(answer), answer.sent, answer.arrived


def _is_deleted(record: Record) -> bool:
    """By the flag of v2 or that of v1."""
    is_deleted = bytes(record.get("is_deleted", FALSE)) == TRUE
    return is_deleted or bytes(record.get("active_flag", TRUE)) == FALSE


async def children(client: Client, endpoint: Endpoint, parents: list[str]) -> list[Page]:
    """The answers with every child of these parents; a parent that is gone has none."""
    if endpoint.parents is not None:
        params: Params = {endpoint.parents: ",".join(parents)}
        return [*await _listed_whole(client, endpoint, endpoint.path, params)]
    found: list[Page] = []
    for parent in parents:
        path = endpoint.path.format(parent=parent)
        try:
            pages = await _listed_whole(client, endpoint, path, {})
        except SourceRefused as error:
            if error.status != NOT_THERE:
                raise
            continue
        records = _of_parent(endpoint, parent, pages)
        found += [replace(page, records=each) for page, each in zip(pages, records, strict=True)]
    return found


async def _listed_whole(
    client: Client, endpoint: Endpoint, path: str, params: Params
) -> list[ListPage]:
    """Every page of a list of children.

    Raises:
        SourceBroke: the list does not end, or entries left it between two pages.
    """
    spec, pages, place = endpoint.spec, list[ListPage](), OffsetPlace()
    more: Params = {}
    for _ in range(CHILD_PAGES_MAX):
        if endpoint.paging == "offset":
            more = {"start": place.start}
        sent: Params = {**params, **more, "limit": PAGE_LIMIT}
        call = SourceCall(f"list {spec.name}", path, spec.cost.tokens_per_page, sent)
        page = await client.fetch(call, _reader(endpoint))
        if not place.follows_on(page):
            break
        pages.append(page)
        if page.next_cursor is None:
            return pages
        place = place.after(page, is_timed=False)
        if endpoint.paging == "cursor":
            place, more = OffsetPlace(), {"cursor": page.next_cursor}
    raise SourceBroke(
        f"Pipedrive, list {spec.name}: a list of children does not end, or changed while it was "
        "read; run again."
    )


def _reader(endpoint: Endpoint) -> Callable[[HttpAnswer], ListPage]:
    if endpoint.paging == "offset":
        return offset_listed
    return changes_listed if endpoint.path.startswith("/v1/") else listed


def _of_parent(endpoint: Endpoint, parent: str, pages: list[ListPage]) -> list[list[Record]]:
    """The records of one parent's pages, with its id and a key where the source sends none."""
    read = endpoint.spec.read
    column = read.column if isinstance(read, Children) else ""
    records = [[{column: Raw(parent.encode()), **each} for each in page.records] for page in pages]
    # Newest first: the oldest is numbered first, so that a new change gives no other a new key.
    counts: Counter[str] = Counter()
    for record in (each for page in reversed(records) for each in reversed(page)):
        if endpoint.spec.key.name not in record:
            name = _change_name(parent, record)
            counts[name] += 1
            key = name if counts[name] == 1 else f"{name}:{counts[name]}"
            record[endpoint.spec.key.name] = Raw(msgspec.json.encode(key))
    return records


def _change_name(parent: str, record: Record) -> str:
    """A name of a change that is the same whenever it is read."""
    at, field = text_of(record, "time"), text_of(record, "field_key")
    values: list[Any] = [bytes(record.get(key, b"null")) for key in ("old_value", "new_value")]
    return f"{parent}:{at}:{field}:{hashlib.sha256(b' '.join(values)).hexdigest()[:12]}"
