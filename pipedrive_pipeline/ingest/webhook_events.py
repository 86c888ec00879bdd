"""Uses what only a webhook's event knows of a record: that it is gone, and its former values.

An event may arrive late, twice or after a newer one. That a record is gone is believed without a
call only where nothing contradicts it: no later event of the record, and in raw no version that is
as young as the event or was loaded after its arrival. Otherwise the record is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec
from msgspec import Raw
from psycopg import sql

from pipedrive_pipeline.connectors.contract import ColumnType, Entity
from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.ingest.due_parents import DueParents
from pipedrive_pipeline.ingest.history import EventVersion, Histories
from pipedrive_pipeline.ingest.outcome import LONG_AGO, Event
from pipedrive_pipeline.ingest.values import NULL, column_values, typed_keys
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.catalog import is_there
from pipedrive_pipeline.warehouse.database import Warehouse


@dataclass(frozen=True)
class Gone:
    """Records of which the newest event says that they are gone, by id."""

    certain: Mapping[str, Event] = field(default_factory=dict)  # nothing contradicts it
    doubtful: Mapping[str, Event] = field(default_factory=dict)  # true if no read gives it


@dataclass(frozen=True)
class Events:
    """Brings the events of one tenant and system into raw."""

    warehouse: Warehouse
    scope: Scope
    deletions: Deletions
    due_parents: DueParents
    histories: Histories

    def gone(self, entity: Entity, events: Iterable[Event]) -> Gone:
        """The records whose newest event is a tombstone; a merge says more than a deletion."""
        by_id: dict[str, Event] = {}
        ordered = sorted(events, key=lambda event: (event.id, _moment(event)))
        for record_id, same in groupby(ordered, key=lambda event: event.id):
            *_, newest = history = list(same)
            if newest.tombstone:
                merges = [event for event in _last_tombstones(history) if _is_merge(event)]
                by_id[record_id] = merges[-1] if merges else newest
        doubtful = self._contradicted(entity, list(by_id.values()))
        if entity.gone_column:  # the source still gives the record, and its own flag says more
            doubtful |= {key for key, event in by_id.items() if not _is_merge(event)}
        return Gone(
            {key: event for key, event in by_id.items() if key not in doubtful},
            {key: event for key, event in by_id.items() if key in doubtful},
        )

    def mark(self, entity: Entity, gone: Iterable[Event]) -> None:
        """Marks these records as gone when the event says, and with them their children."""
        events = [event for event in gone if event.tombstone]
        stones = [event.tombstone for event in events if event.tombstone]
        known = self.in_raw(entity, [stone.id for stone in stones])
        for event in events:
            if event.tombstone:
                self.deletions.remember(entity, event.tombstone, event.happened_at)
        at = {event.id: event.happened_at for event in events}
        self.deletions.mark(entity, [stone for stone in stones if stone.id in known], at)
        self.due_parents.mark_orphans(self.deletions, entity, sorted(known))

    def add_versions(self, entity: Entity, events: Iterable[Event]) -> None:
        """Adds the versions that the events tell to the entity's history, in their order."""
        if not entity.history:
            return
        versions = [
            version
            for event in sorted(events, key=_moment)
            if event.version is not None and (version := _version_of(entity, event)) is not None
        ]
        self.histories.add_versions(entity, versions)

    def in_raw(self, entity: Entity, ids: Sequence[str]) -> set[str]:
        """Those of these records that raw holds."""
        query = "select raw.{key}::text from {raw} as raw where raw.{key} = any(%(ids)s::{type}[])"
        return {row[0] for row in self._rows(entity, query, {"ids": typed_keys(entity.key, ids)})}

    def current_in_raw(
        self, entity: Entity, ids: Sequence[str], events: Iterable[Event]
    ) -> set[str]:
        """Those of these records whose row in raw is as new as their newest event.

        A record without an event is not among them. What was edited again in the same second is in
        the overlap of the next walk.
        """
        happened: dict[str, list[datetime | None]] = {}
        for event in events:
            happened.setdefault(event.id, []).append(event.happened_at)
        newest = {
            record_id: max(times)
            for record_id in ids
            if (times := [at for at in happened.get(record_id, ()) if at])
            and len(times) == len(happened[record_id])
        }
        values = {"ids": typed_keys(entity.key, [*newest]), "happened": [*newest.values()]}
        return {row[0] for row in self._rows(entity, _CURRENT, values)}

    def _contradicted(self, entity: Entity, events: Sequence[Event]) -> set[str]:
        values = {
            "ids": typed_keys(entity.key, [event.id for event in events]),
            "happened": [event.happened_at for event in events],
            "received": [event.received_at for event in events],
        }
        return {row[0] for row in self._rows(entity, _CONTRADICTED, values)}

    def _rows(self, entity: Entity, query: str, values: Mapping[str, Any]) -> list[Any]:
        if not values["ids"]:
            return []
        columns = {column.name: column.type for column in entity.columns}
        stamp = entity.version_column
        is_timed = stamp is not None and columns.get(stamp) is ColumnType.TIMESTAMP
        with self.warehouse.transaction(tenant=self.scope.tenant) as connection:
            if not is_there(connection, self.scope.raw_schema, entity.name):
                return []
            statement = sql.SQL(query).format(
                raw=sql.Identifier(self.scope.raw_schema, entity.name),
                key=sql.Identifier(entity.key.name),
                type=sql.SQL(entity.key.type.value),
                is_live=sql.SQL("raw.{} is not true").format(sql.Identifier(entity.gone_column))
                if entity.gone_column
                else sql.SQL("true"),
                stamp=sql.Identifier("raw", stamp) if stamp and is_timed else sql.NULL,
            )
            return connection.execute(statement, values).fetchall()


def _moment(event: Event) -> tuple[datetime, datetime]:
    return event.happened_at or LONG_AGO, event.received_at


def _last_tombstones(events: Sequence[Event]) -> list[Event]:
    """The tombstones after the last event that is none."""
    lives = [place for place, event in enumerate(events) if event.tombstone is None]
    return [*events[lives[-1] + 1 if lives else 0 :]]


def _is_merge(event: Event) -> bool:
    return event.tombstone is not None and event.tombstone.reason == "merged"


def _version_of(entity: Entity, event: Event) -> EventVersion | None:
    """The version in raw's types; None where a column is missing, does not fit or has no time."""
    stated = dict(event.version or {})
    stamp = entity.version_column
    if stamp and bytes(stated.get(stamp, NULL)) == bytes(NULL) and event.happened_at:
        stated[stamp] = Raw(msgspec.json.encode(event.happened_at))
    values: dict[str, Any] = {}
    for column in entity.history_columns:
        if column.name not in stated:
            return None
        typed = column_values(column, [stated[column.name]])
        if typed.misfits:
            return None
        values[column.name] = typed.array.to_pylist()[0]
    is_timed = stamp is None or values[stamp] is not None
    return EventVersion(values, event.actor_id) if is_timed else None


_CURRENT = """
select raw.{key}::text
from unnest(%(ids)s::{type}[], %(happened)s::timestamptz[]) as event (id, happened_at)
inner join {raw} as raw
    on raw.{key} = event.id
where {stamp} >= date_trunc('second', event.happened_at)
"""

# The stamps of some sources have whole seconds, so an edit of the same second may be a later one. A
# load has the time of the run's machine, an event that of the database: they may differ by minutes.
_CONTRADICTED = """
select raw.{key}::text
from unnest(%(ids)s::{type}[], %(happened)s::timestamptz[], %(received)s::timestamptz[])
    as event (id, happened_at, received_at)
inner join {raw} as raw
    on raw.{key} = event.id
where {is_live}
    and (
        event.happened_at is null
        or {stamp} >= date_trunc('second', event.happened_at)
        or pipeline.loaded_at(raw._dlt_load_id) >= event.received_at - interval '15 minutes'
    )
"""
