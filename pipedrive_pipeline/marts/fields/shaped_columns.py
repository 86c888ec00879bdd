"""Declared JSON columns with a shape: lists values that the marts cannot show, or not in full.

The rules are in `pipeline.standard_misfit`; misfits of typed columns are listed during ingest.
"""

from __future__ import annotations

from typing import Final

from psycopg import sql

from pipedrive_pipeline.connectors.registry import system as system_of
from pipedrive_pipeline.marts.sources import MartSource

# The quick check of each shape, which most values pass.
IS_PLAIN: Final = {
    "points": "are_plain_points",
    "options": "are_plain_options",
    "address": "is_plain_address",
}


def shaped_columns(source: MartSource) -> dict[str, str]:
    """Returns the shape of each column of a mart's records that has one."""
    entity = system_of(source.system).entity(source.entity)
    return {column.name: column.shape for column in entity.columns if column.shape}


def insert_of_misfits(source: MartSource, condition: sql.Composable) -> sql.Composed | None:
    """Returns the insert of the misfits; None if no column has a shape.

    Args:
        source: of which mart.
        condition: on ``remote_id``, in the type of raw's key; selects the records.

    Returns:
        A statement with the parameters tenant, system and entity.
    """
    columns = [
        sql.SQL(
            "({name}::text, {value}, case when {value} is not null and {value} <> '[]'"
            " and {is_plain}({value}) is not true"
            " then pipeline.standard_misfit({kind}, {value}) end)"
        ).format(
            name=sql.Literal(name),
            value=sql.Identifier("record", name),
            is_plain=sql.Identifier("pipeline", IS_PLAIN[shape]),
            kind=sql.Literal(shape),
        )
        for name, shape in shaped_columns(source).items()
    ]
    if not columns:
        return None
    return sql.SQL(_LIST).format(
        records=source.records,
        key=sql.Identifier(source.key),
        columns=sql.SQL(", ").join(columns),
        condition=condition,
    )


_LIST = """
insert into integration.rejected_values
    (tenant_id, system, entity, record_id, field, value, reason)
select
    %(tenant)s,
    %(system)s,
    %(entity)s,
    record.remote_id::text,
    judged.field,
    left(judged.value::text, 1000),
    judged.reason
from (select looked.*, looked.{key} as remote_id from {records} as looked) as record
cross join lateral (values {columns}) as judged (field, value, reason)
where record.{condition}
    and judged.reason is not null
on conflict (tenant_id, system, entity, record_id, field) do update
set value = excluded.value, reason = excluded.reason, target = null, last_seen_at = now()
"""
