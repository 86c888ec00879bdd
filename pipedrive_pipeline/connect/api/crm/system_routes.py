"""What each system can do: the operations of every resource, with the fields that they set."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope
from pipedrive_pipeline.connect.api.crm.incoming import api_name
from pipedrive_pipeline.connect.api.crm.objects import resource_of
from pipedrive_pipeline.connect.api.crm.writing import PREFIX
from pipedrive_pipeline.connect.api.models import Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.dependencies import CrmReader
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import System
from pipedrive_pipeline.connectors.writing import Operation, WriteField, WriteSpec
from pipedrive_pipeline.marts.declared import MARTS, Mart
from pipedrive_pipeline.marts.sources import mart_sources

router = APIRouter(prefix=f"{PREFIX}/systems", responses=REFUSALS, tags=["crm"])


@router.get("", response_model=Listed[dict[str, Any]])
def systems(request: Request, _caller: CrmReader) -> JSONResponse:
    """Every system: which resources it has, and what can be written; the rest is 405."""
    return envelope.answer(request, [_system(each) for each in registry.systems()])


def _system(system: System) -> dict[str, Any]:
    read = {source.name for source in mart_sources(system.key)}
    return {
        "system": system.key,
        "label": system.label,
        "resources": [
            {
                "resource": resource_of(declared).path,
                "is_read": declared.name in read,
                "operations": [
                    _operation(declared, operation, spec)
                    for operation, spec in system.writes.items()
                    if operation.mart == declared.name
                ],
            }
            for declared in MARTS
            if declared.api is not None
        ],
    }


def _operation(declared: Mart, operation: Operation, spec: WriteSpec) -> dict[str, Any]:
    return {
        "operation": operation.verb,
        "tokens": spec.tokens,
        "scopes": list(spec.scopes),
        "has_custom_fields": spec.custom_values is not None,
        "one_of": [api_name(declared, each) for each in spec.one_of],
        "fields": [
            _field(declared, each, is_required=each.column in spec.required)
            for each in spec.fields
            if each.column not in spec.fixed
        ],
    }


def _field(declared: Mart, each: WriteField, *, is_required: bool) -> dict[str, Any]:
    return {
        "name": api_name(declared, each.column),
        "form": "choice" if each.choices is not None else each.form,
        "choices": None if each.choices is None else list(each.choices),
        "is_required": is_required,
        "is_nullable": each.is_nullable,
    }
