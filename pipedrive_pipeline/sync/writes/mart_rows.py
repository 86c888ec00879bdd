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
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.marts.views.custom_values import custom_values
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.signals.store import signal_records
from pipedrive_pipeline.sync.writes.comparison import CUSTOM
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
    from pipedrive_pipeline.sync.signals.refresh import serve_waiting

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
    """A mart's row of a record, with its custom fields under `CUSTOM`; None if there is none."""
    query = sql.SQL(
        "select * from {} where tenant_id = %s and system = %s and remote_id = %s"
    ).format(sql.Identifier(*mart(name).table))
    values = [scope.tenant.slug, scope.system, remote_id]
    row = connection.cursor(row_factory=dict_row).execute(query, values).fetchone()
    if row is None:
        return None
    records = {scope.system: [remote_id]}
    shown = custom_values(connection, scope.tenant, mart(name), records)
    custom = shown.get((scope.system, remote_id), {})
    return {**row, CUSTOM: {**(row.get("attributes") or {}), **custom}}


def row_before(
    connection: psycopg.Connection, scope: Scope, spec: WriteSpec, name: str, remote_id: str
) -> Row | None:
    """A mart's row of a record, with the raw columns from which the call's body is shaped."""
    row = row_of(connection, scope, name, remote_id)
    if row is None or not spec.shape_reads:
        return row
    source = next(each for each in mart_sources(scope.system) if each.name == name)
    query = sql.SQL("select {} from {} where {} = {}").format(
        sql.SQL(", ").join(map(sql.Identifier, spec.shape_reads)),
        sql.Identifier(scope.raw_schema, spec.entity),
        sql.Identifier(source.key),
        source.as_key(sql.Placeholder("remote_id")),
    )
    cursor = connection.cursor(row_factory=dict_row)
    return {**row, **(cursor.execute(query, {"remote_id": remote_id}).fetchone() or {})}


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
