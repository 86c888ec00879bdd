"""Dagster's event log in Postgres: the events of a run are written together, and not read again.

A run of a tenant that reads everything has 790 events. Dagster by itself writes each in two to four
statements, and looks up the materialization of an asset for each of its checks: 2,900 statements in
a run that finds no change.

An event that does not change the state of a run waits, for a second at most, and is written with
those that follow it. Any other event, and any question to this storage, writes first what waits.
So nobody reads events out of order. A process that is killed loses the events of its last second;
what a run did is in `integration.runs`, never read from events.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster_postgres.event_log import PostgresEventLogStorage
from sqlalchemy import Connection, text

WAIT_SECONDS = 1.0
WAITING_MAX = 500  # events
Event = dg.EventLogEntry
Type = dg.DagsterEventType
# They say what came of a step, or how; None is a line of the log.
MAY_WAIT = frozenset(
    {
        Type.ASSET_MATERIALIZATION,
        Type.ASSET_CHECK_EVALUATION,
        Type.STEP_OUTPUT,
        Type.ENGINE_EVENT,
        Type.LOGS_CAPTURED,
        Type.RESOURCE_INIT_STARTED,
        Type.RESOURCE_INIT_SUCCESS,
        None,
    }
)
OF_ASSETS = frozenset({Type.ASSET_MATERIALIZATION, Type.ASSET_MATERIALIZATION_PLANNED})
# Dagster keeps more of them than this module writes.
WRITTEN_BY_DAGSTER = frozenset(
    {Type.ASSET_OBSERVATION, Type.ASSET_FAILED_TO_MATERIALIZE, Type.FRESHNESS_STATE_CHANGE}
)
PLANNED = frozenset({Type.ASSET_MATERIALIZATION_PLANNED, Type.ASSET_CHECK_EVALUATION_PLANNED})


@dataclass
class RunMemory:
    """What a run's own process knows of the assets that it made, until the run ends."""

    materialized: dict[tuple[dg.AssetKey, str], dg.EventLogRecord] = field(default_factory=dict)
    unread: set[dg.AssetKey] = field(default_factory=set)  # made since their record was read
    records: dict[dg.AssetKey, Any] = field(default_factory=dict)
    partitions: set[tuple[str, str]] = field(default_factory=set)  # that are there


class EventLogStorage(PostgresEventLogStorage):
    """Stores events; closes the connection of its process with the instance.

    Before most events Dagster asks whether a table or column exists, in a connection of its own:
    900 statements and 100 connections in a sync that finds no change. A yes is kept.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._known: set[str] = set()
        self._lock = threading.RLock()
        self._waiting: list[Event] = []
        self._timer: threading.Timer | None = None
        self._run: RunMemory | None = None  # that this process makes now
        super().__init__(*arguments, **more)

    def store_event(self, event: Event) -> None:
        """Stores an event; one that only says what came of a step is written a little later."""
        kind = event.dagster_event_type
        if not event.run_id or kind in WRITTEN_BY_DAGSTER:
            super().store_event(event)  # which connects, and so writes first what waits
            return
        with self._lock:
            self._waiting.append(event)
            self._note_materialization(event)
            if kind not in MAY_WAIT or len(self._waiting) >= WAITING_MAX:
                self.flush()
            elif self._timer is None:
                self._timer = threading.Timer(WAIT_SECONDS, self.flush)
                self._timer.daemon = True
                self._timer.start()
        if event.dagster_event and event.dagster_event.is_job_event:
            self._run = RunMemory() if kind is Type.RUN_START else None

    def store_event_batch(self, events: Sequence[Event]) -> None:
        """Stores events in a few statements, in their order."""
        if {event.dagster_event_type for event in events} <= MAY_WAIT | PLANNED:
            self.flush()
            self._write(events)
        else:
            super().store_event_batch(events)

    def flush(self) -> None:
        """Writes the events that wait.

        Raises:
            sqlalchemy.exc.DBAPIError: Postgres refused; they go on waiting.
        """
        with self._lock:
            if self._timer:
                self._timer.cancel()
                self._timer = None
            events, self._waiting = self._waiting, []
            if not events:
                return
            try:
                self._write(events)
            except BaseException:
                self._waiting = events + self._waiting
                raise

    def fetch_materializations(
        self,
        records_filter: dg.AssetKey | dg.AssetRecordsFilter,
        limit: int,
        cursor: str | None = None,
        ascending: bool = False,
    ) -> dg.EventRecordsResult:
        """Returns materializations; the newest of a partition that this run stored is known."""
        if self._run and limit == 1 and cursor is None and not ascending:
            of_partition = self._own_materialization(records_filter)
            if of_partition:
                cursor = str(of_partition.storage_id)
                return dg.EventRecordsResult([of_partition], cursor, has_more=True)
        return super().fetch_materializations(records_filter, limit, cursor, ascending)

    def get_latest_tags_by_partition(
        self,
        asset_key: dg.AssetKey,
        event_type: dg.DagsterEventType,
        tag_keys: Sequence[str],
        asset_partitions: Sequence[str] | None = None,
        *more: Any,
        **named: Any,
    ) -> Mapping[str, Mapping[str, str]]:
        """Returns the newest tags of an asset by partition; those of this run are known."""
        if self._run and event_type is Type.ASSET_MATERIALIZATION and not (more or named):
            match asset_partitions:
                case [partition]:
                    own = self._own_materialization(dg.AssetRecordsFilter(asset_key, [partition]))
                    if own and own.asset_materialization:
                        tags = own.asset_materialization.tags or {}
                        return {partition: {key: tags[key] for key in tag_keys if key in tags}}
        return super().get_latest_tags_by_partition(
            asset_key, event_type, tag_keys, asset_partitions, *more, **named
        )

    def has_dynamic_partition(self, partitions_def_name: str, partition_key: str) -> bool:
        """True if the partition is there; a run asks it for each of its results."""
        partition = (partitions_def_name, partition_key)
        if self._run and partition in self._run.partitions:
            return True
        is_there = super().has_dynamic_partition(partitions_def_name, partition_key)
        if self._run and is_there:
            self._run.partitions.add(partition)
        return is_there

    def get_asset_records(self, asset_keys: Sequence[dg.AssetKey] | None = None) -> Sequence[Any]:
        """Returns the records of assets.

        After each materialization a run asks for those of the assets before it, one by one. Where
        it made them itself, all that it made are read together, and kept until it makes them again.
        """
        run = self._run
        match asset_keys:
            case [key] if run and key in run.unread | run.records.keys():
                if key in run.unread:
                    unread, run.unread = sorted(run.unread), set()
                    records = super().get_asset_records(unread)
                    run.records |= {record.asset_entry.asset_key: record for record in records}
                return [run.records[key]] if key in run.records else []
        return super().get_asset_records(asset_keys)

    def has_table(self, table_name: str) -> bool:
        """True if Dagster's schema has this table."""
        return self._is_known(table_name, super().has_table)

    def has_asset_key_col(self, column_name: str) -> bool:
        """True if Dagster's table of assets has this column."""
        return self._is_known(column_name, super().has_asset_key_col)

    def _is_known(self, name: str, asked: Callable[[str], bool]) -> bool:
        if name not in self._known and asked(name):
            self._known.add(name)
        return name in self._known

    def dispose(self) -> None:
        """Writes what waits, and ends what the instance has open."""
        self.flush()
        super().dispose()
        self._engine.dispose()

    def _connect(self) -> AbstractContextManager[Connection]:
        self.flush()
        return super()._connect()

    def _note_materialization(self, event: Event) -> None:
        """Notes that what is known of an asset is not the newest any more."""
        if self._run and event.dagster_event_type is Type.ASSET_MATERIALIZATION:
            made = event.get_dagster_event()
            assert made.asset_key is not None  # noqa: S101 - of this type
            self._run.materialized.pop((made.asset_key, made.partition or ""), None)
            self._run.unread.add(made.asset_key)

    def _own_materialization(
        self, wanted: dg.AssetKey | dg.AssetRecordsFilter
    ) -> dg.EventLogRecord | None:
        """The newest materialization of one partition of an asset, if this run made it."""
        match wanted:
            case dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[partition]) if self._run:
                if wanted != dg.AssetRecordsFilter(asset, [partition]):
                    return None  # with conditions
                if (asset, partition) not in self._run.materialized:
                    self.flush()
                return self._run.materialized.get((asset, partition))
        return None

    def _write(self, events: Sequence[Event]) -> None:
        """Writes events, and what Dagster keeps of them by asset and by check."""
        rows = [self._event_to_row(event) for event in events]
        with super()._connect() as connection:
            ids = connection.execute(text(_EVENTS), _columns(rows, _EVENT_COLUMNS)).scalars().all()
            records = [*map(dg.EventLogRecord, ids, events)]
            self._write_assets(connection, records)
            self._write_checks(connection, records, rows)

    def _write_assets(self, connection: Connection, records: Sequence[dg.EventLogRecord]) -> None:
        of_assets = [record for record in records if _type(record) in OF_ASSETS]
        entries = [record.event_log_entry for record in of_assets]
        self._store_asset_event_tags(connection, entries, [each.storage_id for each in of_assets])
        by_asset: dict[str, dict[str, Any]] = {}
        for record in of_assets:
            event = record.event_log_entry
            asset = event.get_dagster_event().asset_key
            assert asset is not None  # noqa: S101 - of these types
            row = by_asset.setdefault(asset.to_string(), {"asset_key": asset.to_string()})
            row |= self._get_asset_entry_values(event, record.storage_id, True)
            if _type(record) is Type.ASSET_MATERIALIZATION:
                partition = event.get_dagster_event().partition
                if self._run:
                    self._run.materialized[asset, partition or ""] = record
        if by_asset:
            connection.execute(text(_ASSETS), _columns(by_asset.values(), _ASSET_COLUMNS))

    def _write_checks(
        self,
        connection: Connection,
        records: Sequence[dg.EventLogRecord],
        rows: Sequence[Mapping[str, Any]],
    ) -> None:
        planned, evaluated = [], []
        for record, stored in zip(records, rows, strict=True):
            event = record.event_log_entry
            row = {
                "run_id": event.run_id,
                "evaluation_event": stored["event"],
                "evaluation_event_timestamp": stored["timestamp"],
                "evaluation_event_storage_id": record.storage_id,
            }
            if _type(record) is Type.ASSET_CHECK_EVALUATION_PLANNED:
                plan = event.get_dagster_event().asset_check_planned_data
                of_check = {"asset_key": plan.asset_key.to_string(), "check_name": plan.check_name}
                subset = plan.partitions_subset
                keys = subset.get_partition_keys() if subset else [None]
                planned += [{**row, **of_check, "partition": key} for key in keys]
            elif _type(record) is Type.ASSET_CHECK_EVALUATION:
                result = event.get_dagster_event().asset_check_evaluation_data
                target = result.target_materialization_data
                row |= {
                    "asset_key": result.asset_key.to_string(),
                    "check_name": result.check_name,
                    "partition": result.partition,
                    "execution_status": "SUCCEEDED" if result.passed else "FAILED",
                    "materialization_event_storage_id": target.storage_id if target else None,
                }
                evaluated.append(row)
        if planned:
            connection.execute(text(_PLANNED_CHECKS), _columns(planned, _CHECK_COLUMNS))
        if evaluated:
            connection.execute(text(_EVALUATED_CHECKS), _columns(evaluated, _CHECK_COLUMNS))


def _type(record: dg.EventLogRecord) -> dg.DagsterEventType | None:
    return record.event_log_entry.dagster_event_type


def _columns(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[Any]]:
    """Rows as arrays, one a column: Postgres reads them as a table."""
    listed = [*rows]
    return {name: [row.get(name) for row in listed] for name in names}


_EVENT_COLUMNS = (
    "run_id",
    "event",
    "dagster_event_type",
    "timestamp",
    "step_key",
    "asset_key",
    "partition",
)
_EVENTS = """
insert into event_logs
    (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
select
    given.run_id,
    given.event,
    given.dagster_event_type,
    given.timestamp,
    given.step_key,
    given.asset_key,
    given.partition
from unnest(
    cast(:run_id as text[]),
    cast(:event as text[]),
    cast(:dagster_event_type as text[]),
    cast(:timestamp as timestamp[]),
    cast(:step_key as text[]),
    cast(:asset_key as text[]),
    cast(:partition as text[])
) with ordinality as given (
    run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition, place
)
order by given.place asc
returning id
"""

# In the order of their keys: two runs that write the same assets would wait for each other.
_ASSET_COLUMNS = (
    "asset_key",
    "last_materialization",
    "last_run_id",
    "last_materialization_timestamp",
)
_ASSETS = """
insert into asset_keys as known
    (asset_key, last_materialization, last_run_id, last_materialization_timestamp)
select
    given.asset_key,
    given.last_materialization,
    given.last_run_id,
    given.last_materialization_timestamp
from unnest(
    cast(:asset_key as text[]),
    cast(:last_materialization as text[]),
    cast(:last_run_id as text[]),
    cast(:last_materialization_timestamp as timestamp[])
) as given (asset_key, last_materialization, last_run_id, last_materialization_timestamp)
order by given.asset_key asc
on conflict (asset_key) do update
set last_materialization = coalesce(excluded.last_materialization, known.last_materialization),
    last_run_id = excluded.last_run_id,
    last_materialization_timestamp = excluded.last_materialization_timestamp
"""

_CHECK_COLUMNS = (
    "asset_key",
    "check_name",
    "partition",
    "run_id",
    "execution_status",
    "evaluation_event",
    "evaluation_event_timestamp",
    "evaluation_event_storage_id",
    "materialization_event_storage_id",
)
_GIVEN_CHECKS = """
select given.*
from unnest(
    cast(:asset_key as text[]),
    cast(:check_name as text[]),
    cast(:partition as text[]),
    cast(:run_id as text[]),
    cast(:execution_status as text[]),
    cast(:evaluation_event as text[]),
    cast(:evaluation_event_timestamp as timestamp[]),
    cast(:evaluation_event_storage_id as bigint[]),
    cast(:materialization_event_storage_id as bigint[])
) as given (
    asset_key, check_name, partition, run_id, execution_status, evaluation_event,
    evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id
)
"""
_PLANNED_CHECKS = f"""
insert into asset_check_executions (
    asset_key, check_name, partition, run_id, execution_status, evaluation_event,
    evaluation_event_timestamp, evaluation_event_storage_id
)
select
    given.asset_key,
    given.check_name,
    given.partition,
    given.run_id,
    'PLANNED',
    given.evaluation_event,
    given.evaluation_event_timestamp,
    given.evaluation_event_storage_id
from ({_GIVEN_CHECKS}) as given
"""
# A check that was not planned has no row yet.
_EVALUATED_CHECKS = f"""
with given as ({_GIVEN_CHECKS}),

updated as (
    update asset_check_executions as planned
    set execution_status = given.execution_status,
        evaluation_event = given.evaluation_event,
        evaluation_event_timestamp = given.evaluation_event_timestamp,
        evaluation_event_storage_id = given.evaluation_event_storage_id,
        materialization_event_storage_id = given.materialization_event_storage_id
    from given
    where planned.asset_key = given.asset_key
        and planned.check_name = given.check_name
        and planned.run_id = given.run_id
        and planned.partition is not distinct from given.partition
    returning planned.asset_key, planned.check_name, planned.run_id, planned.partition
)

insert into asset_check_executions (
    asset_key, check_name, partition, run_id, execution_status, evaluation_event,
    evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id
)
select given.*
from given
left join updated
    on updated.asset_key = given.asset_key
    and updated.check_name = given.check_name
    and updated.run_id = given.run_id
    and updated.partition is not distinct from given.partition
where updated.asset_key is null
"""
