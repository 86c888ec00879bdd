"""The changelog of a deal, and the conversions between leads and deals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer
from pipedrive_pipeline.sandbox.kit.cursors import opened, sealed
from pipedrive_pipeline.sandbox.kit.service import ApiEndpoint
from pipedrive_pipeline.sandbox.pipedrive.answers import by_service, invalid, page, success
from pipedrive_pipeline.sandbox.pipedrive.routes.calls import AdmittedCall
from pipedrive_pipeline.sandbox.pipedrive.routes.records import DEFAULT_LIMIT, known, paging_kinds
from pipedrive_pipeline.sandbox.pipedrive.world.changelog import changelog
from pipedrive_pipeline.sandbox.pipedrive.world.conversions import (
    conversion_id,
    convert_deal,
    convert_lead,
)
from pipedrive_pipeline.sandbox.pipedrive.world.deal_kinds import DEALS
from pipedrive_pipeline.sandbox.pipedrive.world.ids import printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.kind import RecordKind
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.sandbox.pipedrive.world.lead_kinds import LEADS

Record = dict[str, Any]
CHANGELOG_PRICE, CONVERSION_PRICE, STATUS_PRICE = 20, 40, 1  # tokens
RECENTS = ("recents:read",)


class _Place(msgspec.Struct, forbid_unknown_fields=True):
    place: int


@dataclass
class ConversionJob:
    """One conversion: done at once, reported as completed after a number of status calls."""

    source: tuple[str, int]
    result: Record  # the key of the new record with its id
    polls: int = 0


def endpoints() -> list[ApiEndpoint]:
    """Changelog, conversions and their status."""
    routes = [
        ApiEndpoint("GET", "/v1/deals/{id}/changelog", CHANGELOG_PRICE, RECENTS, _changelog),
    ]
    for kind, target, answer in ((DEALS, "lead", _to_lead), (LEADS, "deal", _to_deal)):
        path = f"/api/v2/{kind.name}/{{id}}/convert"
        status = f"{path}/status/{{conversion_id}}"
        routes += [
            ApiEndpoint("POST", f"{path}/{target}", CONVERSION_PRICE, kind.write, answer),
            ApiEndpoint("GET", status, STATUS_PRICE, kind.read, partial(_status, kind)),
        ]
    return routes


def _changelog(call: AdmittedCall) -> SandboxAnswer:
    values = call.parameters(paging_kinds(call))
    deal = known(call, DEALS, sees_deleted=True)
    try:
        start = opened(values["cursor"], _Place).place if "cursor" in values else 0
    except ValueError as error:
        raise invalid("Parameter 'cursor' is not valid") from error
    rows, end = changelog(call.account, deal["id"]), start + values.get("limit", DEFAULT_LIMIT)
    return page(rows[start:end], sealed(_Place(end)) if end < len(rows) else None)


def _to_lead(call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    deal = known(call, DEALS)
    lead = convert_deal(call.account, deal["id"], by="api")
    return _begun(call, DEALS, deal, {"lead_id": printed_id(LEADS, lead["id"])})


def _to_deal(call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    lead = known(call, LEADS)
    place: Record = call.json_object() if call.raw_body.strip() else {}
    for key, value in place.items():
        target = {"stage_id": "stages", "pipeline_id": "pipelines"}.get(key)
        if target is None:
            raise invalid(f"Parameter '{key}' is not allowed")
        record = call.account.records[target].get(value) if type(value) is int else None
        if record is None or record["is_deleted"]:
            raise invalid(f"{key}: {ENTITIES[target].singular.capitalize()} not found")
    deal = convert_lead(call.account, lead["id"], by="api", **place)
    return _begun(call, LEADS, lead, {"deal_id": deal["id"]})


def _begun(call: AdmittedCall, kind: RecordKind, source: Record, result: Record) -> SandboxAnswer:
    jobs = call.account.conversions
    job_id = conversion_id(len(jobs) + 1)
    jobs[job_id] = ConversionJob((kind.name, source["id"]), result)
    return success({"conversion_id": job_id})


def _status(kind: RecordKind, call: AdmittedCall) -> SandboxAnswer:
    call.parameters({})
    job = call.account.conversions.get(call.path["conversion_id"])
    source = None if job is None else (kind.name, printed_id(kind, job.source[1]))
    if job is None or source != (job.source[0], _printed(call, kind)):
        raise by_service(404, "Entity was not found", error_info="Object was not found.")
    job.polls += 1
    is_done = job.polls > call.options.conversion_polls
    row = {"conversion_id": call.path["conversion_id"], "status": "running"}
    return success(row | {"status": "completed", **job.result} if is_done else row)


def _printed(call: AdmittedCall, kind: RecordKind) -> int | str:
    return call.id() if kind.id_form == "number" else call.path["id"]
