"""Records of other rooms as the API's models.

Belongs here: one function a record. Does not belong here: names and limits (`models.py`,
`sync_models.py`, `polled_models.py`), or the envelope.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pipedrive_pipeline.connect import models, polled_models, sync_models
from pipedrive_pipeline.connect.keys import Key
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.base import Account
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline.sync.asking import Asked
from pipedrive_pipeline.sync.configuration import SyncConfig
from pipedrive_pipeline.sync.overview import EntityOverview
from pipedrive_pipeline.sync.runs import ShownRun
from pipedrive_pipeline.vault.connections import Connection
from pipedrive_pipeline.vault.ending import Ended
from pipedrive_pipeline.vault.proving import Proof, missing_scopes
from pipedrive_pipeline.vault.states import Reason


def connection(system: str, held: Connection | None) -> polled_models.Connection:
    """One system's connection; a tenant that never began one has the state `disconnected`."""
    label = registry.connector(system).label
    if held is None:
        return polled_models.Connection(system=system, label=label, state="disconnected")
    return polled_models.Connection(
        system=system,
        label=label,
        state=held.state.value,
        state_reason=held.state_reason,
        state_sentence=Reason(held.state_reason).sentence if held.state_reason else None,
        kind=held.kind,
        company=polled_models.Company(held.company_id, held.company_name, held.company_domain),
        user=polled_models.ConnectedUser(held.account_user_name, held.is_account_admin),
        api_domain=held.api_domain,
        scopes=held.scopes,
        missing_scopes=missing_scopes(system, held.scopes),
        connected_by=held.connected_by,
        connected_at=held.connected_at,
        token_expires_at=held.token_expires_at,
        last_sync=polled_models.LastSync(
            held.last_sync_at, held.last_sync_status, held.last_sync_error
        ),
    )


def proof(found: Proof) -> models.Proof:
    """A connection that works: as whom, and what that user cannot see."""
    return models.Proof(
        company=_company(found.account),
        user=models.ProvedUser(
            id=found.account.user_id, name=found.account.user_name, is_admin=found.account.is_admin
        ),
        missing_scopes=list(found.missing_scopes),
        unreadable_entities=list(found.unreadable_entities),
        limits=list(found.limits),
    )


def ended(end: Ended) -> models.Ended:
    """A connection that is over."""
    return models.Ended(system=end.system, is_revoked=end.is_revoked, note=end.note or None)


def key(held: Key) -> models.KeyShown:
    """A key without its secret."""
    return models.KeyShown.model_validate(held)


def run(held: ShownRun) -> polled_models.Run:
    """One run, or a request that waits for one."""
    return polled_models.Run(
        id=held.id,
        status=held.status,
        sync_type=held.sync_type,
        trigger=held.trigger,
        requested_at=held.requested_at,
        requested_by=held.requested_by,
        started_at=held.started_at,
        completed_at=held.completed_at,
        organizations=polled_models.Counts(*held.organizations),
        persons=polled_models.Counts(*held.persons),
        tokens_spent=held.tokens_spent,
        api_calls=held.api_calls,
        watermarks=polled_models.WATERMARKS.decode(held.watermarks_json),
        progress=_progress(msgspec.json.decode(held.progress_json or "null")),
        resume_at=held.resume_at,
        errors=polled_models.ERRORS.decode(held.errors_json),
        dagster_run_id=held.dagster_run_id,
    )


def entity(held: EntityOverview) -> polled_models.EntityStanding:
    """How fresh and how complete one entity is."""
    return polled_models.EntityStanding(
        held.name, held.rows, held.watermark, held.missing, held.checked_at
    )


def asked(held: Asked) -> polled_models.SyncRequest:
    """A request, and how far the run is that serves it."""
    return polled_models.SyncRequest(
        id=held.id,
        state=held.state,
        sync_type=held.sync_type,
        trigger=held.trigger,
        requested_at=held.requested_at,
        requested_by=held.requested_by,
        settled_at=held.settled_at,
        run_id=held.run_id,
        progress=_progress(held.progress),
    )


def config(held: SyncConfig) -> sync_models.Config:
    """Settings, alert addresses masked."""
    return sync_models.Config.model_validate(held.facts())


def fields(known: Sequence[mappings.Field], active: mappings.Mapping) -> list[models.FieldShown]:
    """Every field of the catalogue, with the targets that it fills."""
    fills: dict[tuple[str, str], list[str]] = {}
    for entry in active.entries:
        fills.setdefault((entry.entity, entry.field_key), []).append(entry.target)
    return [
        models.FieldShown(
            entity=one.entity,
            key=one.field_key,
            name=one.field_name,
            type=one.field_type,
            is_custom=one.is_custom,
            options=[models.Option(id=i, label=label) for i, label in one.options.items()],
            removed_at=one.removed_at,
            fills=fills.get(one.identity, []),
        )
        for one in known
    ]


def mapping(
    version: mappings.Version, known: Sequence[mappings.Field], *, is_active: bool
) -> models.MappingShown:
    """One version, and which of its fields are gone."""
    return models.MappingShown(
        version=version.number,
        is_active=is_active,
        mapping=version.mapping.written(),
        saved_at=version.saved_at,
        saved_by=version.saved_by,
        vanished=[one.name for one in mappings.vanished(version.mapping, list(known))],
    )


def preview(seen: mappings.Preview) -> models.PreviewShown:
    """What a mapping would do."""
    return models.PreviewShown(
        rows={mart: [models.PreviewRow(**row) for row in rows] for mart, rows in seen.rows.items()},
        coverage=[models.CoverageShown.model_validate(one) for one in seen.coverage],
    )


def _company(account: Account) -> models.Company:
    return models.Company(
        id=account.company_id, name=account.company_name, domain=account.company_domain
    )


def _progress(noted: dict[str, Any] | None) -> polled_models.Progress | None:
    if not noted:
        return None
    seconds = float(noted["seconds"])
    rate = round(noted["rows"] / seconds, 1) if seconds else 0.0
    return polled_models.Progress(noted["stage"], noted["pages"], noted["rows"], seconds, rate)
