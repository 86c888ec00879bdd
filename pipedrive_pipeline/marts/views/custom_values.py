"""The custom fields of some records by readable name, as the views show them, for the CRM API."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.connectors.registry import system_keys
from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.marts.fields.catalogue import are_custom_fields_wanted
from pipedrive_pipeline.marts.fields.columns import ViewColumn, stored_columns
from pipedrive_pipeline.marts.fields.values import expression
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.marts.views.view_ddl import RawRecords, tables_of
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant

PAIRS_OF_A_CALL: Final = 50  # a function of Postgres takes 100 arguments


def custom_values(
    connection: psycopg.Connection,
    tenant: Tenant,
    mart: Mart,
    records: Mapping[str, Collection[str]],
) -> dict[tuple[str, str], dict[str, Any]]:
    """Returns the custom fields that are not empty, by system and remote_id.

    Args:
        connection: of a role that may read raw; the caller has checked that the records may be
            seen.
        tenant: whose.
        mart: whose rows the records are.
        records: remote_ids by system.
    """
    columns = stored_columns(connection, tenant, mart.name) if records else []
    values: dict[tuple[str, str], dict[str, Any]] = {}
    for system, remote_ids in records.items():
        shown = [column for column in columns if column.system == system and not column.is_overflow]
        if not shown or system not in system_keys():
            continue
        scope = Scope(tenant, system)
        if not are_custom_fields_wanted(connection, scope):
            continue
        query = _query(scope, mart, tables_of(connection, scope.raw_schema), shown)
        if query is not None:
            rows = connection.execute(query, {"remote_ids": list(remote_ids)})
            values |= {(system, remote_id): fields for remote_id, fields in rows}
    return values


def _query(
    scope: Scope, mart: Mart, tables: frozenset[str], columns: list[ViewColumn]
) -> sql.Composed | None:
    """Returns the select of remote_id and fields; None if these records were never loaded."""
    source = {source.mart: source for source in mart_sources(scope.system)}.get(mart)
    if source is None or source.entity not in tables:
        return None
    keys = tuple(dict.fromkeys(column.field_key for column in columns))
    records = replace(RawRecords(scope, source, tables), keys=keys)
    return sql.SQL(
        "select asked.remote_id, jsonb_strip_nulls({fields})"
        " from unnest(%(remote_ids)s::text[]) as asked (remote_id)"
        " inner join {table} as {alias} on {alias}.{key} = {remote_id}{joins}"
    ).format(
        fields=sql.SQL(" || ").join(_objects(records, columns)),
        table=sql.Identifier(scope.raw_schema, source.entity),
        alias=records.alias,
        key=sql.Identifier(source.key),
        remote_id=source.as_key(sql.Identifier("asked", "remote_id")),
        joins=records.fields.joins(),
    )


def _objects(records: RawRecords, columns: list[ViewColumn]) -> Iterator[sql.Composable]:
    for start in range(0, len(columns), PAIRS_OF_A_CALL):
        pairs = (
            sql.SQL("{}::text, {}").format(
                sql.Literal(column.column_name),
                expression(column.definition, records.field(column.field_key, column.field_type)),
            )
            for column in columns[start : start + PAIRS_OF_A_CALL]
        )
        yield sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))
