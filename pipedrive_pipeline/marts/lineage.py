"""What each column of a mart is made of: columns of raw tables, and fields that a mapping names.

Belongs here: the way back, for people who ask where a value comes from. Does not belong here: how
it is made (`sql/marts`, `mapping/`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.targets import Target

RawColumn = tuple[str, str]  # table and column
_ADDRESS: Final = ("street", "city", "postal_code", "region", "country", "address")


def _of_both(record: str, definitions: str) -> dict[str, tuple[RawColumn, ...]]:
    return {
        "tenant_id": (),
        "pipedrive_id": ((record, "id"),),
        "name": ((record, "name"),),
        "owner_id": ((record, "owner_id"),),
        "owner_name": ((record, "owner_id"), ("users", "name")),
        "labels": ((record, "label_ids"), (definitions, "options")),
        "changed_at": ((record, "update_time"),),
        "pipedrive_created_at": ((record, "add_time"),),
        "deleted_at": (
            *((record, name) for name in ("is_deleted", "update_time", "_dlt_load_id")),
            ("deletions", "seen_at"),
        ),
        "deletion_reason": ((record, "is_deleted"), ("deletions", "reason")),
        "merged_into": (("deletions", "merged_into"),),
    }


SELECTED: Final[Mapping[str, Mapping[str, tuple[RawColumn, ...]]]] = MappingProxyType(
    {
        "customers": {
            **_of_both("organizations", "organization_fields"),
            **dict.fromkeys(_ADDRESS, (("organizations", "address"),)),
            "website": (("organizations", "website"),),
            "industry": (("organizations", "industry"), ("organization_fields", "options")),
            "annual_revenue": (("organizations", "annual_revenue"),),
            "employee_count": (("organizations", "employee_count"),),
        },
        "contacts": {
            **_of_both("persons", "person_fields"),
            "customer_id": (("persons", "org_id"), ("customers", "id")),
            "first_name": (("persons", "first_name"),),
            "last_name": (("persons", "last_name"),),
            "email": (("persons", "emails"),),
            "phone": (("persons", "phones"),),
            "emails": (("persons", "emails"),),
            "phones": (("persons", "phones"),),
            "job_title": (("persons", "job_title"),),
        },
    }
)


@dataclass(frozen=True)
class Origin:
    """Where a column's values come from; ``mapped`` names fields as people know them."""

    sources: tuple[RawColumn, ...] = ()
    mapped: tuple[str, ...] = ()


def origins(target: Target, fields: Sequence[Field]) -> dict[str, Origin]:
    """The origin of each column that the select or the tenant's mapping fills."""
    selected = SELECTED[target.name]
    found = {name: Origin(selected.get(name, ())) for name in ("pipedrive_id", *target.columns)}
    known = {one.identity: one for one in fields}
    mapped: dict[str, list[Origin]] = defaultdict(list)
    for one in target.fillings:
        field = known[target.entity, one.field_key]
        source = (target.entity, "custom_fields" if field.is_custom else one.field_key)
        name, _, attribute = one.target.partition(".")
        told = f"{field.field_name} (field {one.source}, type {field.field_type})"
        told = f"{attribute}: {told}" if attribute else told
        mapped[name].append(Origin((source,), (told,)))
    for name, added in mapped.items():
        parts = [found.get(name, Origin()), *added]
        found[name] = Origin(
            tuple(dict.fromkeys(source for part in parts for source in part.sources)),
            tuple(told for part in parts for told in part.mapped),
        )
    return found
