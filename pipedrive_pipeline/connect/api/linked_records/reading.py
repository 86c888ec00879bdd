"""Finds and reads one record for an app: from the tables, or from the CRM first where asked."""

from __future__ import annotations

import asyncio

from pipedrive_pipeline.connect.api.crm import reading
from pipedrive_pipeline.connect.api.crm.ids import shown_remote
from pipedrive_pipeline.connect.api.crm.writing import Target, target_of
from pipedrive_pipeline.connect.api.linked_records.models import WantedRecord
from pipedrive_pipeline.connect.api.linked_records.operations import RecordPart
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Credential
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.writes import mart_rows
from pipedrive_pipeline.sync.writes.errors import RecordGone
from pipedrive_pipeline.sync.writes.matching import EXTERNAL_KEY, Match, matched, require_usable


def target_in(
    services: Services, caller: Caller, scope: Scope, part: RecordPart, record_id: str
) -> Target:
    """The record with this id, in the system that the request names.

    Raises:
        NotFound: there is none, or it is of another system.
    """
    target = target_of(services, caller, part.mart, record_id)
    if target.scope != scope:
        raise NotFound(f"{part.name}.id is no record of {scope.system}.")
    return target


def remote_id_of(
    services: Services, caller: Caller, scope: Scope, part: RecordPart, wanted: WantedRecord
) -> str:
    """The id in the system of the record that is wanted.

    Raises:
        NotFound, NoMatch: there is none.
        Duplicate: several match.
        WriteInvalid: nothing can be found by this.
        BadInput: there is no value to look for.
    """
    if wanted.id is not None:
        return target_in(services, caller, scope, part, wanted.id).remote_id
    by = wanted.by or EXTERNAL_KEY
    value = wanted.external_key if by == EXTERNAL_KEY else wanted.match_value
    if value is None:
        name = EXTERNAL_KEY if by == EXTERNAL_KEY else "match_value"
        raise BadInput(f"{part.name}.{name} is missing: the {by} to look for.")
    match = Match(by, value, "update_only", external_key=wanted.external_key)
    require_usable(part.mart_name, match)
    with services.vault.warehouse.transaction(tenant=scope.tenant) as connection:
        remote_id = matched(connection, scope, part.mart_name, match)
    if remote_id is None:
        raise NotFound(f"No {part.name} has this {by}.")
    return remote_id


def read_again(
    services: Services,
    scope: Scope,
    part: RecordPart,
    remote_id: str,
    credential: Credential | None,
) -> None:
    """Brings a record in as it is at the source now.

    Args:
        services: of the app.
        scope: the tenant and system.
        part: of which mart it is.
        remote_id: its id in the system.
        credential: whose user must see it; None: the connection's own.

    Raises:
        RecordGone: it is gone, or that user may not see it.
        PipelineError: it cannot be read now.
    """
    vault = services.vault
    entity_name = next(
        source.entity for source in mart_sources(scope.system) if source.mart == part.mart
    )
    if credential is not None:
        source = SourceAccess(vault.warehouse, vault.settings, scope, credential=credential)
        entity = registry.system(scope.system).entity(entity_name)

        async def is_seen() -> bool:
            async with source.open(source.usage.on_call) as opened:
                return any(page.records for page in await opened.records(entity, [remote_id]))

        try:
            if not asyncio.run(is_seen()):
                raise RecordGone(
                    f"{shown_remote(scope.system, remote_id)}: the record is gone at the source, "
                    "or the user of these credentials may not see it."
                )
        finally:
            source.usage.write()
    mart_rows.bring_in(vault.warehouse, vault.settings, scope, {entity_name: [remote_id]})


def shown_record(
    services: Services, caller: Caller, scope: Scope, part: RecordPart, remote_id: str
) -> dict[str, object]:
    """The record as the CRM API shows it to this caller.

    Raises:
        NotFound: it is gone, or the caller may not see it.
    """
    record_id = shown_remote(scope.system, remote_id)
    return reading.object_of(services.warehouse, caller, part.mart, record_id)
