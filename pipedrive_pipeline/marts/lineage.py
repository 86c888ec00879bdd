"""Column lineage of marts and views: the columns of other tables behind each column.

It is read from the text of the mart's select (`select_text.py`): a column of a raw table counts as
a source if the output's expression names it, directly or through sub-selects. What the build adds
(links, names of linked rows, labels, deletion marks) follows from the declaration.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from pipedrive_pipeline.connectors.contract import Entity, System
from pipedrive_pipeline.connectors.registry import system as system_of
from pipedrive_pipeline.marts.declared import SCHEMA, Mart
from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.fields.columns import OVERFLOW_COLUMN, ViewColumn
from pipedrive_pipeline.marts.fields.field_entities import custom_values
from pipedrive_pipeline.marts.select_text import Select, SourceColumn
from pipedrive_pipeline.marts.sources import MartSource, mart_sources, record_pages
from pipedrive_pipeline.marts.views.standard_columns import NAME, URL, linked_names

OPTIONS: Final = "options"  # of a field's definition
_COMMENT: Final = re.compile(r"--[^\n]*")
_TABLE: Final = re.compile(r"\b(?:from|join)\s+(\w+)")


@dataclass(frozen=True)
class Origin:
    """Sources of a column's values; ``mapped`` describes mapped fields for a person."""

    sources: tuple[SourceColumn, ...] = ()
    mapped: tuple[str, ...] = ()


def origins(source: MartSource, fields: Sequence[Field]) -> dict[str, Origin]:
    """Returns the origin of each column that the build or the tenant's mapping fills."""
    origin_of = {name: Origin(sources) for name, sources in _built(source).items()}
    known = {field.identity: field for field in fields}
    mapped: dict[str, list[Origin]] = defaultdict(list)
    for filling in source.fillings:
        field = known[source.entity, filling.field_key]
        column = custom_values(source) if field.is_custom else filling.field_key
        name, _, attribute = filling.target.partition(".")
        description = f"{field.field_name} (field {filling.source}, type {field.field_type})"
        description = f"{attribute}: {description}" if attribute else description
        mapped[name].append(Origin((_raw(source, column),), (description,)))
    for name, added in mapped.items():
        parts = [origin_of.get(name, Origin()), *added]
        origin_of[name] = Origin(
            _distinct(column for part in parts for column in part.sources),
            tuple(description for part in parts for description in part.mapped),
        )
    return origin_of


def raw_tables(source: MartSource) -> tuple[str, ...]:
    """Returns the entities whose raw tables a mart's build reads in one system.

    These are the tables that its select and its header name, and the one that defines its custom
    fields.
    """
    entities = system_of(source.system).by_name
    named = _TABLE.findall(_COMMENT.sub("", source.select.text))
    defined_by = [source.defined_by] if source.defined_by else []
    named += [table.entity for table in source.also_read]
    return tuple(name for name in entities if name in {*named, *defined_by, source.entity})


def view_origins(mart: Mart, columns: Iterable[ViewColumn]) -> dict[str, tuple[SourceColumn, ...]]:
    """Returns the source of each column of a mart's view: the mart, or raw for custom fields."""
    table = (SCHEMA, mart.name)
    origin_of: dict[str, tuple[SourceColumn, ...]] = {
        column.name: (SourceColumn(table, column.name),) for column in mart.all_columns
    }
    for name, link in linked_names(mart).items():
        origin_of[name] = (SourceColumn((SCHEMA, link.mart), NAME),)
    if record_pages(mart):
        origin_of[URL] = (SourceColumn(table, "remote_id"),)
    custom = list(columns)
    records = {
        system: SourceColumn((system, source.entity), custom_values(source))
        for system in {column.system for column in custom}
        for source in mart_sources(system)
        if source.mart is mart
    }
    for column in custom:
        name = OVERFLOW_COLUMN if column.is_overflow else column.column_name
        record = records.get(column.system)
        origin_of[name] = _distinct((*origin_of.get(name, ()), *([record] if record else [])))
    return origin_of


def source_fields(source: MartSource) -> dict[str, list[str]]:
    """Returns the fields of the source's own records behind each column, without the mapping."""
    table = (source.system, source.entity)
    fields = {
        name: [column.column for column in columns if column.table == table]
        for name, columns in _built(source).items()
    }
    return {name: of_column for name, of_column in fields.items() if of_column}


def _built(source: MartSource) -> dict[str, tuple[SourceColumn, ...]]:
    """Returns the sources of each column of the mart, without the tenant's mapping."""
    selected = _selected(source)
    entity = system_of(source.system).entity(source.entity)
    built = {name: columns for name, columns in selected.items() if name in source.columns}
    built["remote_id"] = selected["remote_id"]
    for name in source.options:
        built[name] = _distinct((*selected[name], *_labels(source.system, entity)))
    for name, names in source.names.items():
        named = SourceColumn((source.system, names.entity), names.columns[-1])
        built[name] = _distinct((*selected[name], named))
    for link in source.links:
        given = selected[link.remote_column]
        table = (SCHEMA, link.mart)
        built[link.remote_column] = given
        built[link.name] = (*given, SourceColumn(table, "id"))
        for theirs, ours in link.shows:
            built[ours.name] = (*given, SourceColumn(table, theirs))
    marks = selected.get("is_deleted", ())
    built["deleted_at"] = _distinct((*marks, *(selected.get("changed_at", ()) if marks else ())))
    built["deletion_reason"] = _distinct((*marks, *selected.get("deletion_reason", ())))
    for generated in source.mart.generated:
        read = set(re.findall(r"\w+", generated.expression))
        built[generated.name] = _distinct(
            column for name, columns in built.items() if name in read for column in columns
        )
    return {name: columns for name, columns in built.items() if columns}


def _selected(source: MartSource) -> dict[str, tuple[SourceColumn, ...]]:
    """Returns the raw columns that each output of the mart's select reads; none of a constant."""
    return _sources_of_outputs(source.select.text, system_of(source.system), source.outputs)


@cache
def _sources_of_outputs(
    text: str, system: System, outputs: tuple[str, ...]
) -> dict[str, tuple[SourceColumn, ...]]:
    """Reading a select takes 2 ms, and each publication of views asks for all of them."""
    select = Select(text, system)
    return {name: select.sources(name) for name in outputs}


def _labels(system: str, entity: Entity) -> tuple[SourceColumn, ...]:
    """Returns the column with the labels of an entity's options."""
    if entity.defined_by is None:
        return ()
    definitions = system_of(system).entity(entity.defined_by)
    has_options = any(column.name == OPTIONS for column in definitions.columns)
    return (
        SourceColumn((system, definitions.name), OPTIONS if has_options else definitions.key.name),
    )


def _raw(source: MartSource, column: str) -> SourceColumn:
    return SourceColumn((source.system, source.entity), column)


def _distinct(columns: Iterable[SourceColumn]) -> tuple[SourceColumn, ...]:
    return tuple(dict.fromkeys(columns))
