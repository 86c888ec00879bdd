"""All kinds of records: a new entity is a new `RecordKind` here, with its seeds and its rules."""

from __future__ import annotations

from pipedrive_pipeline.sandbox.pipedrive.world.contact_kinds import ORGANIZATIONS, PERSONS
from pipedrive_pipeline.sandbox.pipedrive.world.deal_kinds import (
    DEAL_PARTICIPANTS,
    DEAL_PRODUCTS,
    DEALS,
    PIPELINES,
    STAGES,
)
from pipedrive_pipeline.sandbox.pipedrive.world.lead_kinds import (
    LEAD_LABELS,
    LEAD_SOURCES,
    LEADS,
)
from pipedrive_pipeline.sandbox.pipedrive.world.product_kinds import PRODUCT_VARIATIONS, PRODUCTS
from pipedrive_pipeline.sandbox.pipedrive.world.work_kinds import (
    ACTIVITIES,
    ACTIVITY_TYPES,
    NOTES,
)

ENTITIES = {
    kind.name: kind
    for kind in (
        ORGANIZATIONS,
        PERSONS,
        PIPELINES,
        STAGES,
        DEALS,
        PRODUCTS,
        PRODUCT_VARIATIONS,
        DEAL_PRODUCTS,
        DEAL_PARTICIPANTS,
        ACTIVITY_TYPES,
        ACTIVITIES,
        NOTES,
        LEAD_LABELS,
        LEAD_SOURCES,
        LEADS,
    )
}
WITH_FIELDS = {name: kind for name, kind in ENTITIES.items() if kind.first_field_id is not None}


def _links() -> dict[str, list[tuple[str, str]]]:
    """The keys that point at each kind, as (kind, key)."""
    links: dict[str, list[tuple[str, str]]] = {name: [] for name in ENTITIES}
    for name, kind in ENTITIES.items():
        if kind.parent is not None:
            links[ORGANIZATIONS.name].append((name, kind.parent))
        if kind.belongs_to is not None:
            target, key = kind.belongs_to
            links[target].append((name, key))
        for key, value_kind in kind.writable.items():
            target = value_kind.rstrip("?")
            if target in ENTITIES:
                links[target].append((name, key))
    return links


LINKS = _links()
