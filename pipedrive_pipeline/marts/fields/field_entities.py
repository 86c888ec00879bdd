"""The kinds of records that have custom fields, and the mart that each of them feeds."""

from __future__ import annotations

from pipedrive_pipeline.connectors.registry import system as system_of
from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.marts.sources import MartSource, mart_sources


def field_entities(system: str) -> dict[str, Mart]:
    """Returns the mart of each entity whose field definitions are read, by the entity's name."""
    return {source.entity: source.mart for source in mart_sources(system) if source.defined_by}


def custom_values(source: MartSource) -> str:
    """Returns the raw column with the values of custom fields."""
    return system_of(source.system).entity(source.entity).custom_values
