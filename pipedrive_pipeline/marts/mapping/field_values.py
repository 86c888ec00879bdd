"""How often the newest records have a value of each field, and what such values look like.

The newest thousand records are read by the index of their load, so that a table of a million
records takes as long as one of a thousand. Nothing is written. The samples are values of records:
show them only to people who may read them, never log them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql

from pipedrive_pipeline.connectors.registry import system as system_of
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.fields.catalogue import Field, fields_of
from pipedrive_pipeline.marts.fields.field_entities import field_entities
from pipedrive_pipeline.marts.fields.values import is_simple, kind_of
from pipedrive_pipeline.marts.raw import raw_transaction
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

RECORDS: Final = 1_000
SAMPLES: Final = 3
CANDIDATES: Final = 100  # values of which the samples are the first different ones
SAMPLE_CHARACTERS: Final = 60
# The parts of a value under the name that the mapping has for them.
PART_NAMES: Final = {"value": ("amount", "from", ""), "until": ("until",)}


@dataclass(frozen=True)
class FieldValues:
    """The values of one field in the newest records.

    Attributes:
        entity: whose field it is.
        field_key: of the field.
        records: how many records were looked at, at most a thousand.
        filled: how many of them have a value.
        samples: up to three different values of each part of the field, by the part's name; the
            whole value has the name "".
    """

    entity: str
    field_key: str
    records: int
    filled: int
    samples: dict[str, tuple[str, ...]]


def field_values(warehouse: Warehouse, scope: Scope, entity: str) -> list[FieldValues]:
    """Returns the values of every known field of an entity; none if it was never loaded.

    Raises:
        BadInput: the system has no such entity, or its fields cannot be mapped.
    """
    declared = system_of(scope.system).entity(entity)
    known = field_entities(scope.system)
    if entity not in known:
        raise BadInput(f"{entity} has no fields to map; there are {', '.join(known)}.")
    query = sql.SQL(_VALUES).format(
        records=sql.Identifier(entity),
        custom=sql.Identifier(declared.custom_values),
        custom_name=sql.Literal(declared.custom_values),
        limit=sql.Literal(RECORDS),
        candidates=sql.Literal(CANDIDATES),
    )
    with raw_transaction(warehouse, scope) as connection:
        fields = [field for field in fields_of(connection, scope) if field.entity == entity]
        keys = [field.field_key for field in fields]
        found = {row[0]: row[1:] for row in connection.execute(query, {"keys": keys})}
        counted = connection.execute(
            sql.SQL("select count(*) from (select from {} limit {}) as newest").format(
                sql.Identifier(entity), sql.Literal(RECORDS)
            )
        ).fetchone()
    records = counted[0] if counted else 0
    return [
        FieldValues(entity, field.field_key, records, filled, _samples(field, values or ()))
        for field in fields
        for filled, values in [found.get(field.field_key, (0, ()))]
    ]


def _samples(field: Field, values: Iterable[Any]) -> dict[str, tuple[str, ...]]:
    """Returns the first different values of each part."""
    seen: dict[str, dict[str, None]] = {}
    for value in values:
        for part, text in _parts(field, value):
            of_part = seen.setdefault(part, {})
            if text and len(of_part) < SAMPLES:
                of_part[_shortened(text)] = None
    return {part: tuple(texts) for part, texts in seen.items()}


def _parts(field: Field, value: Any) -> Iterator[tuple[str, str]]:
    """Yields each part of a value with its text."""
    kind = kind_of(field.system, field.field_type)
    if isinstance(value, dict) and not is_simple(kind):
        for name, part in value.items():
            for part_name in PART_NAMES.get(name, (name,)):
                yield part_name, _text(part)
    elif isinstance(value, list):
        labels = [field.labels.get(str(item), _text(item)) for item in value]
        yield "", ", ".join(labels)
        yield "ids", ", ".join(_text(item) for item in value)
    elif isinstance(value, dict):
        yield "", _text(value.get("name") or value.get("value"))
        yield "id", _text(value.get("id") or value.get("value"))
    else:
        text = _text(value)
        for name in PART_NAMES["value"]:
            yield name, field.labels.get(text, text)
        yield "id", text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return _text(value.get("value") or value.get("name"))
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return "" if value is None else str(value).strip()


def _shortened(text: str) -> str:
    is_long = len(text) > SAMPLE_CHARACTERS
    return f"{text[: SAMPLE_CHARACTERS - 1]}…" if is_long else text


_VALUES: Final = """
with newest as (
    select to_jsonb(record) - {custom_name} - 'extra' as sent, record.{custom} as custom,
        record.extra
    from (
        select *
        from {records}
        order by _dlt_load_id desc
        limit {limit}
    ) as record
),
filled as (
    select entry.key, entry.value
    from newest
    cross join lateral jsonb_each(
        coalesce(newest.extra, '{{}}') || coalesce(newest.custom, '{{}}') || newest.sent
    ) as entry (key, value)
    where entry.key = any (%(keys)s)
        and not pipeline.is_empty(entry.value)
)
select
    filled.key,
    count(*),
    (array_agg(filled.value))[1:{candidates}]
from filled
group by filled.key
"""
