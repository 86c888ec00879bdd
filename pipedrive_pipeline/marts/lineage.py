"""Column lineage of the marts: the raw columns and mapped fields behind each column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.sources import MartSource

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
    """Sources of a column's values; ``mapped`` describes mapped fields for a person."""

    sources: tuple[RawColumn, ...] = ()
    mapped: tuple[str, ...] = ()


def origins(target: MartSource, fields: Sequence[Field]) -> dict[str, Origin]:
    """Returns the origin of each column that the select or the tenant's mapping fills."""
    selected = SELECTED.get(target.name, {})
    origin_of = {name: Origin(selected.get(name, ())) for name in ("pipedrive_id", *target.written)}
    known = {field.identity: field for field in fields}
    mapped: dict[str, list[Origin]] = defaultdict(list)
    for filling in target.fillings:
        field = known[target.entity, filling.field_key]
        source = (target.entity, "custom_fields" if field.is_custom else filling.field_key)
        name, _, attribute = filling.target.partition(".")
        description = f"{field.field_name} (field {filling.source}, type {field.field_type})"
        description = f"{attribute}: {description}" if attribute else description
        mapped[name].append(Origin((source,), (description,)))
    for name, added in mapped.items():
        parts = [origin_of.get(name, Origin()), *added]
        origin_of[name] = Origin(
            tuple(dict.fromkeys(source for part in parts for source in part.sources)),
            tuple(description for part in parts for description in part.mapped),
        )
    return origin_of
