"""A tenant's field mapping: which field of the source fills which column of a mart.

Belongs here: a mapping's form, validation, versions, proposals and preview, and the SQL that it
adds to a build. Does not belong here: the build (`marts/build.py`), conversion of a value to its
type (`marts/fields/values.py`).
"""

from __future__ import annotations

from pipedrive_pipeline.marts.fields.catalogue import Field
from pipedrive_pipeline.marts.fields.catalogue import fields_of as known_fields
from pipedrive_pipeline.marts.mapping.differences import Difference, differences, rebased
from pipedrive_pipeline.marts.mapping.field_values import FieldValues, field_values
from pipedrive_pipeline.marts.mapping.form import BadMapping, Entry, Issue, Mapping
from pipedrive_pipeline.marts.mapping.mapped_sources import unusable_entries
from pipedrive_pipeline.marts.mapping.preview import Coverage, Preview, RefusedValue, preview
from pipedrive_pipeline.marts.mapping.proposals import Proposal, proposals
from pipedrive_pipeline.marts.mapping.store import (
    Catalogue,
    MappingOutdated,
    Version,
    active,
    catalogue,
    refused_values,
    save,
    vanished,
    versions,
)
from pipedrive_pipeline.marts.mapping.validation import fitting, validated

__all__ = [
    "BadMapping",
    "Catalogue",
    "Coverage",
    "Difference",
    "Entry",
    "Field",
    "FieldValues",
    "Issue",
    "Mapping",
    "MappingOutdated",
    "Preview",
    "Proposal",
    "RefusedValue",
    "Version",
    "active",
    "catalogue",
    "differences",
    "field_values",
    "fitting",
    "known_fields",
    "preview",
    "proposals",
    "rebased",
    "refused_values",
    "save",
    "unusable_entries",
    "validated",
    "vanished",
    "versions",
]
