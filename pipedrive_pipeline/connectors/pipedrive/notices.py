"""Reads one event of Pipedrive's webhooks of version 2.

An event says which record changed; its values have another form than those of the API and are not
taken, but for what no call gives back: deletions, merges and the former places of a deal.

Source: https://pipedrive.readme.io/docs/guide-for-webhooks-v2 (read 2026-11).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec
from msgspec import Raw

from pipedrive_pipeline.connectors.contract import ColumnType, Entity, Notice, Record, Tombstone
from pipedrive_pipeline.connectors.jsontext import JsonReader, NotReadable
from pipedrive_pipeline.connectors.pipedrive.deals import DEAL_LINE_EVENT
from pipedrive_pipeline.connectors.pipedrive.entities import ENDPOINTS, ENTITIES
from pipedrive_pipeline.errors import BadInput

VERSION = "2.0"
CREATE, CHANGE, DELETE = "create", "change", "delete"
ENTITY_OF: Mapping[str, str] = MappingProxyType(
    {each.event: name for name, each in ENDPOINTS.items() if each.event is not None}
)
EVENT_ID = re.compile(r"[\x21-\x7e]{1,64}")
NUMBER_ID = re.compile(r"[1-9][0-9]{0,17}")
UUID_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
LATEST_SECOND = 253_402_300_799  # the last one of the year 9999
NULL = Raw(b"null")


class _Event(msgspec.Struct):
    meta: Record
    data: Raw = NULL  # the record; null of a deletion
    previous: Raw = NULL  # the changed values as they were; of a deletion the last state


_read_event = JsonReader(_Event)
_as_record = msgspec.json.Decoder(Record)


def notices(body: bytes) -> list[Notice]:
    """See `contract.Webhooks.notices`; a merge gives two, of the survivor and of what went.

    Raises:
        BadInput: the body is no event.
    """
    try:
        event, _ = _read_event(body)
    except NotReadable as error:
        raise BadInput(f"this is no event of a Pipedrive webhook: {error}.") from None
    meta = event.meta
    entity = ENTITIES.get(ENTITY_OF.get(_text(meta, "entity"), ""))
    is_known = entity is not None and _text(meta, "action") in {CREATE, CHANGE, DELETE}
    if entity is None or not is_known or _text(meta, "version") != VERSION:
        return []
    return list(_notices(entity, event, meta))


def _notices(entity: Entity, event: _Event, meta: Record) -> Iterator[Notice]:
    action, key = _text(meta, "action"), _key(event, meta)
    at = _instant(_text(meta, "timestamp"))
    actor_id, company_id = _number(meta, "user_id"), _number(meta, "company_id")
    data, previous = _record(event.data), _record(event.previous)
    record_id = _text(meta, "entity_id") or _text(data, "id") or _text(previous, "id")
    tombstone = version = None
    if _text(meta, "entity") == DEAL_LINE_EVENT:
        record_id = _text(data, "deal_id") or _text(previous, "deal_id")
    elif action == DELETE:
        tombstone = _tombstone(entity, record_id, _text(meta, "merged_to_id"))
    elif action == CREATE or previous.keys() & set(entity.history):
        version = _version(entity, record_id, data)
    if not _is_id(entity, record_id):
        return
    notice = Notice(key, entity.name, record_id, at, tombstone, version, actor_id, company_id)
    yield notice
    merged_id = _text(meta, "merged_from_id")
    if action == CHANGE and _is_id(entity, merged_id) and merged_id != record_id:
        gone = _tombstone(entity, merged_id, record_id)
        yield replace(notice, key=f"{key}:merged", id=merged_id, tombstone=gone, version=None)


def _key(event: _Event, meta: Record) -> str:
    """The event's id; of users, whose events all have the user's id, a digest of their content."""
    event_id = _text(meta, "id")
    if _text(meta, "entity") != "user" and EVENT_ID.fullmatch(event_id):
        return event_id
    facts = ("entity", "entity_id", "action", "timestamp")
    parts = [bytes(meta.get(name, NULL)) for name in facts]
    parts += [bytes(event.data), bytes(event.previous)]
    return hashlib.sha256(b"\n".join(parts)).hexdigest()


def _tombstone(entity: Entity, record_id: str, survivor_id: str) -> Tombstone:
    if _is_id(entity, survivor_id) and survivor_id != record_id:
        return Tombstone(record_id, "merged", survivor_id)
    return Tombstone(record_id, "deleted")


def _version(entity: Entity, record_id: str, data: Record) -> Record | None:
    """The values that the raw history keeps; None where it keeps none."""
    if not entity.history or not data or not _is_id(entity, record_id):
        return None
    names = {column.name for column in entity.history_columns}
    version = {name: value for name, value in data.items() if name in names}
    stamp = entity.version_column
    if stamp and bytes(version.get(stamp, NULL)) == b"null":  # a new record has none yet
        version[stamp] = data.get("add_time", NULL)
    return {**version, entity.key.name: Raw(record_id.encode())}


def _number(meta: Record, key: str) -> str | None:
    text = _text(meta, key)
    return text if NUMBER_ID.fullmatch(text) else None


def _is_id(entity: Entity, text: str) -> bool:
    pattern = NUMBER_ID if entity.key.type is ColumnType.BIGINT else UUID_ID
    return pattern.fullmatch(text) is not None


def _instant(text: str) -> datetime | None:
    """The time of an event: of a user whole seconds since 1970, of all others an ISO time."""
    try:
        if text.isascii() and text.isdigit():
            seconds = int(text[:20])
            return datetime.fromtimestamp(seconds, UTC) if seconds <= LATEST_SECOND else None
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _record(raw: Raw) -> Record:
    """The keys of an object; none of anything else."""
    try:
        return _as_record.decode(raw)
    except msgspec.MsgspecError:
        return {}


def _text(record: Record, key: str) -> str:
    """A text or a whole number as text; empty if it is anything else."""
    raw = bytes(record.get(key, NULL))
    if raw.startswith(b'"'):
        return msgspec.json.decode(raw, type=str)
    return raw.decode() if raw.isdigit() else ""
