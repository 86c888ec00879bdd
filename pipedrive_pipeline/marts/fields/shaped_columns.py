"""Declared columns with a shape: lists values that the marts cannot show, or not in full.

The rules are in `pipeline.standard_misfit`; misfits of typed columns are listed during ingest.
"""

from __future__ import annotations

from typing import Final

from psycopg import sql

from pipedrive_pipeline.connectors.registry import system as system_of
from pipedrive_pipeline.marts.sources import MartSource

# The quick check of each shape, which most values pass. {value} is the column.
IS_PLAIN: Final = {
    "points": "pipeline.are_plain_points({value})",
    "options": "pipeline.are_plain_options({value})",
    "address": "pipeline.is_plain_address({value})",
    "money": "jsonb_typeof({value} -> 'amount') = 'number'"
    " and jsonb_typeof({value} -> 'currency') = 'string'",
    # Days that every month has.
    "day": "{value} ~ '^[1-9][0-9]{{3}}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$'",
    "time_of_day": "{value} ~ '^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$'",
    "duration": "{value} ~ '^[0-9]{{1,4}}:[0-5][0-9](:[0-5][0-9])?$'",
}
TEXT_SHAPES: Final = ("day", "time_of_day", "duration")


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
        sql.SQL(_JUDGED_TEXT if shape in TEXT_SHAPES else _JUDGED_JSON).format(
            name=sql.Literal(name),
            value=sql.Identifier("record", name),
            is_plain=sql.SQL(IS_PLAIN[shape]).format(value=sql.Identifier("record", name)),
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


_JUDGED_JSON = """(
        {name}::text,
        {value},
        case
            when {value} is not null and {value} <> '[]' and ({is_plain}) is not true
                then pipeline.standard_misfit({kind}, {value})
        end
    )"""
# Raw keeps a value that is no text in `extra`.
_JUDGED_TEXT = """(
        {name}::text,
        coalesce(to_jsonb({value}), record.extra -> {name}),
        case
            when ({value} is not null or record.extra is not null) and ({is_plain}) is not true
                then pipeline.standard_misfit(
                    {kind}, coalesce(to_jsonb({value}), record.extra -> {name})
                )
        end
    )"""
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
