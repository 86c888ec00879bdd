"""Pipedrive's types of custom fields.

Source: https://developers.pipedrive.com/docs/api/v1/OrganizationFields (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pipedrive_pipeline.connectors.contract import FieldType

FIELD_TYPES: Final[Mapping[str, FieldType]] = MappingProxyType(
    {
        **dict.fromkeys(("varchar", "varchar_auto", "phone"), FieldType("text", length_max=255)),
        "text": FieldType("text"),
        "int": FieldType("int"),
        "double": FieldType("double"),
        "boolean": FieldType("boolean"),
        "date": FieldType("date"),
        "daterange": FieldType("daterange"),
        "time": FieldType("time"),
        "timerange": FieldType("timerange"),
        "monetary": FieldType("monetary"),
        "enum": FieldType("enum"),
        "set": FieldType("set"),
        "address": FieldType("address"),
        "user": FieldType("reference", refers_to="users"),
        "org": FieldType("reference", refers_to="organizations"),
        "people": FieldType("reference", refers_to="persons"),
    }
)
