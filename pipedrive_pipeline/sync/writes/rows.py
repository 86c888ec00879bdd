"""Rows of the marts as writes see them: brought up to date, compared, given a version."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.connectors.writing import WriteSpec
from pipedrive_pipeline.errors import Busy
from pipedrive_pipeline.marts.declared import mart
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.runs.signals import signal_records
from pipedrive_pipeline.sync.writes.errors import TablesBehind
from pipedrive_pipeline.warehouse.database import Warehouse

Row = dict[str, Any]
WAIT_SECONDS: Final = 30.0  # for another run to bring a record in
POLL_SECONDS: Final = 0.1


def bring_in(
    warehouse: Warehouse,
    settings: Settings,
    scope: Scope,
    records: Mapping[str, Sequence[str]],
    *,
    wait_seconds: float = WAIT_SECONDS,
) -> None:
    """Reads records again into raw and marts, by the path of every signal, under its locks.

    Another run that reads the tenant serves the signals at its next chunk; it is waited for.

    Args:
        warehouse: has the tables.
        settings: of this installation.
        scope: whose records.
        records: their ids by entity, as `Source.records` takes them.
        wait_seconds: how long another run is waited for.

    Raises:
        TablesBehind: another run has not served them in time; it will.
        PipelineError: as `serve_waiting`, or why the records could not be read.
    """
    # dlt takes a second and 80 MB; a Connect app that never writes never loads it.
    from pipedrive_pipeline.sync.runs.refresh import serve_waiting

    for entity, ids in records.items():
        signal_records(warehouse, scope, entity, ids)
    give_up_at = time.monotonic() + wait_seconds
    while True:
        try:
            served = serve_waiting(warehouse, settings, scope, turns=1)
        except Busy:
            served = None
        if not _are_waiting(warehouse, scope, records):
            return
        if served is not None and served.errors:
            raise served.errors[0]
        if time.monotonic() > give_up_at:
            raise TablesBehind(scope.tenant.slug)
        time.sleep(POLL_SECONDS)


def _are_waiting(warehouse: Warehouse, scope: Scope, records: Mapping[str, Sequence[str]]) -> bool:
    keys = [(entity, each) for entity, ids in records.items() for each in ids]
    values = [
        [entity for entity, _ in keys],
        [each for _, each in keys],
        scope.tenant.slug,
        scope.system,
    ]
    with warehouse.transaction(tenant=scope.tenant) as connection:
        return connection.execute(_WAITING, values).fetchone() is not None


def records_of(spec: WriteSpec, remote_id: str | None, parent: str | None) -> dict[str, list[str]]:
    """What is read again after a write: the record, or its parent and the parent's list."""
    if spec.parent is not None and parent is not None:
        return {spec.entity: [parent], spec.parent[1]: [parent]}
    return {spec.entity: [remote_id]} if remote_id is not None else {}


def row_of(connection: psycopg.Connection, scope: Scope, name: str, remote_id: str) -> Row | None:
    """A mart's row of a record; None if there is none."""
    query = sql.SQL(
        "select * from {} where tenant_id = %s and system = %s and remote_id = %s"
    ).format(sql.Identifier(*mart(name).table))
    values = [scope.tenant.slug, scope.system, remote_id]
    return connection.cursor(row_factory=dict_row).execute(query, values).fetchone()


_WAITING: Final = """
select
from integration.signals
inner join unnest(%s::text[], %s::text[]) as asked (entity, remote_id)
    on asked.entity = signals.entity
    and asked.remote_id = signals.remote_id
where signals.tenant_id = %s
    and signals.system = %s
limit 1
"""
