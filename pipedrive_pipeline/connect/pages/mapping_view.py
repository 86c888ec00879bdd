"""What the pages of the mapping show: the fields to edit, and names for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.errors import TooMuchAtOnce
from pipedrive_pipeline.connect.pages import texts
from pipedrive_pipeline.connect.pages.display import Display
from pipedrive_pipeline.connect.pages.mapping_draft import Sheet
from pipedrive_pipeline.connect.pages.visitors import Visitor
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.marts.fields.field_entities import field_entities
from pipedrive_pipeline.marts.fields.values import PARTS
from pipedrive_pipeline.scope import Scope


def sheet_of(
    services: Services,
    visitor: Visitor,
    system: str,
    mart: str,
    *,
    version: int | None = None,
    with_values: bool = True,
) -> Sheet | None:
    """The fields of the mart's records, with the version to edit; None if it has no fields.

    Without values it is fast: no row of the source is looked at.
    """
    scope, entities = Scope(visitor.tenant, system), field_entities(system)
    chosen = next((name for name, each in entities.items() if each.name == mart), None)
    entity = chosen or next(iter(entities), None)
    if entity is None:
        return None
    with services.warehouse.as_app(visitor.tenant) as connection:
        fields = mappings.known_fields(connection, scope)
        base = mappings.active(connection, scope)
        if version is not None and version != base.number:
            saved = mappings.versions(connection, scope)
            none = mappings.Version(mapping=mappings.Mapping((), tuple(entities)))
            base = next((each for each in saved if each.number == version), none)
        offers = mappings.proposals(connection, scope, base.mapping, fields)
        refused = mappings.refused_values(connection, scope, entity)
    values = _values(services, visitor, scope, entity) if with_values else []
    return Sheet(
        scope,
        entity,
        entities[entity],
        fields,
        base,
        {each.entry.source: each for each in offers if each.entry.entity == entity},
        {each.field_key: each for each in values},
        refused,
    )


def _values(
    services: Services, visitor: Visitor, scope: Scope, entity: str
) -> list[mappings.FieldValues]:
    """How often fields are filled; samples only for those who map them."""
    try:
        with services.slow_work.slot(visitor.tenant):
            values = mappings.field_values(services.warehouse, scope, entity)
    except TooMuchAtOnce:
        return []  # the page is of use without them
    if visitor.may(Permission.WRITE_MAPPING):
        return values
    return [replace(each, samples={}) for each in values]


def names_of(fields: Sequence[mappings.Field]) -> dict[tuple[str, str], str]:
    """The fields' names; one that is not known has its key."""
    return FieldNames({field.identity: field.field_name for field in fields})


class FieldNames(dict[tuple[str, str], str]):
    """Names of fields by entity and key; the key of one that is not known."""

    def __missing__(self, field: tuple[str, str]) -> str:
        return field[1]


def labels_of(display: Display) -> dict[str, str]:
    """The names for people of tables and of parts of values; some other name as it is."""
    known = texts.catalogue(display.language)
    parts = {part.name for parts in PARTS.values() for part in parts}
    tables = {mart.name: display.table(mart.name) for mart in MARTS}
    return tables | {
        name: str(known.get(f"mapping.part.{name}", name.replace("_", " "))) for name in parts
    }


def value_of(values: Mapping[str, Any] | None, target: str) -> str:
    """The value of a column or attribute as text; empty if there is none."""
    column, _, attribute = target.partition(".")
    value = (values or {}).get(column)
    if attribute:
        value = (value or {}).get(attribute)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
