"""Standard JSON columns: lists values that the marts cannot show, or not in full, as rejected.

The rules are in `pipeline.standard_misfit`; misfits of typed columns are listed during ingest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from psycopg import sql


@dataclass(frozen=True)
class ColumnShape:
    """A kind of `pipeline.standard_misfit`, and the quick check that most values pass."""

    kind: str
    is_plain: str


_POINTS = ColumnShape("points", "are_plain_points")
_OPTIONS = ColumnShape("options", "are_plain_options")
SHAPES: Final[Mapping[str, Mapping[str, ColumnShape]]] = {
    "organizations": {"address": ColumnShape("address", "is_plain_address"), "label_ids": _OPTIONS},
    "persons": {"emails": _POINTS, "phones": _POINTS, "label_ids": _OPTIONS},
}
STANDARD_COLUMNS: Final = tuple(sorted({name for shapes in SHAPES.values() for name in shapes}))


def insert_of_misfits(entity: str, condition: sql.Composable) -> sql.Composed:
    """Returns the insert of one entity's misfits, with parameters tenant, system and entity.

    Args:
        entity: of which records.
        condition: on ``remote_id``, in the type of raw's key; selects the records.
    """
    columns = [
        sql.SQL(
            "({name}::text, {value}, case when {value} is not null and {value} <> '[]'"
            " and {is_plain}({value}) is not true"
            " then pipeline.standard_misfit({kind}, {value}) end)"
        ).format(
            name=sql.Literal(name),
            value=sql.Identifier("record", name),
            is_plain=sql.Identifier("pipeline", shape.is_plain),
            kind=sql.Literal(shape.kind),
        )
        for name, shape in SHAPES[entity].items()
    ]
    return sql.SQL(_LIST).format(
        records=sql.Identifier(entity), columns=sql.SQL(", ").join(columns), condition=condition
    )


_LIST = """
insert into integration.rejected_values
    (tenant_id, system, entity, record_id, field, value, reason)
select
    %(tenant)s,
    %(system)s,
    %(entity)s,
    record.id::text,
    judged.field,
    left(judged.value::text, 1000),
    judged.reason
from (select looked.*, looked.id as remote_id from {records} as looked) as record
cross join lateral (values {columns}) as judged (field, value, reason)
where record.{condition}
    and judged.reason is not null
on conflict (tenant_id, system, entity, record_id, field) do update
set value = excluded.value, reason = excluded.reason, target = null, last_seen_at = now()
"""
