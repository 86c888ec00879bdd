"""Our records as models of the API."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from pipedrive_pipeline.connect.api import models, sync_models
from pipedrive_pipeline.connect.auth.keys import Key
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import Account, Entity
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline.sync.runs.listing import RunSummary
from pipedrive_pipeline.sync.runs.progress import RunProgress
from pipedrive_pipeline.sync.runs.requests import RequestProgress
from pipedrive_pipeline.sync.status.entity_states import EntityState
from pipedrive_pipeline.sync.tenancy.configuration import SyncConfig
from pipedrive_pipeline.sync.webhooks.live_status import Liveness
from pipedrive_pipeline.vault.connection_test import ConnectionCheck, missing_scopes
from pipedrive_pipeline.vault.connections import TenantConnection
from pipedrive_pipeline.vault.states import Reason


def connection(
    system: str, row: TenantConnection | None, entities: Iterable[Entity]
) -> models.Connection:
    """One system's connection; `disconnected` if the tenant never began one.

    Scopes are missing for these entities, which the tenant reads.
    """
    label = registry.system(system).label
    if row is None:
        return models.Connection(system=system, label=label, state="disconnected")
    return models.Connection(
        system=system,
        label=label,
        state=row.state.value,
        state_reason=row.state_reason,
        state_sentence=Reason(row.state_reason).sentence if row.state_reason else None,
        kind=row.kind,
        company=models.Company(id=row.company_id, name=row.company_name, domain=row.company_domain),
        user=models.ConnectedUser(name=row.account_user_name, is_admin=row.is_account_admin),
        api_domain=row.api_domain,
        scopes=list(row.scopes),
        missing_scopes=list(missing_scopes(system, row.scopes, entities)),
        connected_by=row.connected_by,
        connected_at=row.connected_at,
        token_expires_at=row.token_expires_at,
        last_sync=models.LastSync(
            at=row.last_sync_at, status=row.last_sync_status, error=row.last_sync_error
        ),
    )


def connection_test(proof: ConnectionCheck) -> models.ConnectionTest:
    """A connection that works: its user, and the records that this user cannot see."""
    return models.ConnectionTest(
        company=_company(proof.account),
        user=models.TestedUser(
            id=proof.account.user_id, name=proof.account.user_name, is_admin=proof.account.is_admin
        ),
        missing_scopes=list(proof.missing_scopes),
        unreadable_entities=list(proof.unreadable_entities),
        limits=list(proof.limits),
    )


def key(row: Key) -> models.KeyShown:
    """A key without its secret."""
    return models.KeyShown.model_validate(row)


def run(row: RunSummary) -> sync_models.Run:
    """A run, or a request that waits for one."""
    return sync_models.Run.model_validate(
        {
            "id": row.id,
            "status": row.status,
            "sync_type": row.sync_type,
            "trigger": row.trigger,
            "requested_at": row.requested_at,
            "requested_by": row.requested_by,
            "started_at": row.started_at,
            "completed_at": row.completed_at,
            "entities": json.loads(row.entities_json),
            "marts": json.loads(row.marts_json),
            "tokens_spent": row.tokens_spent,
            "api_calls": row.api_calls,
            "watermarks": json.loads(row.watermarks_json),
            "progress": _progress(json.loads(row.progress_json or "null")),
            "resume_at": row.resume_at,
            "errors": json.loads(row.errors_json),
            "dagster_run_id": row.dagster_run_id,
        }
    )


def entity(row: EntityState) -> sync_models.EntityStatus:
    """The freshness and completeness of one entity."""
    return sync_models.EntityStatus(
        name=row.entity,
        state=row.state,
        code=row.code,
        reason=row.reason,
        mart=row.mart,
        rows=row.rows,
        watermark=row.as_of,
        last_read_at=row.last_read_at,
        last_sweep_at=row.last_sweep_at,
        listed=row.listed,
        missing=row.missing,
        checked_at=row.checked_at,
    )


def near_real_time(row: Liveness) -> sync_models.NearRealTime:
    """Whether the source tells of changes at once."""
    return sync_models.NearRealTime.model_validate(row.facts())


def sync_request(row: RequestProgress) -> sync_models.SyncRequest:
    """A request, with the progress of the run that serves it."""
    return sync_models.SyncRequest.model_validate(
        {
            "id": row.id,
            "state": row.state,
            "sync_type": row.sync_type,
            "trigger": row.trigger,
            "requested_at": row.requested_at,
            "requested_by": row.requested_by,
            "settled_at": row.settled_at,
            "run_id": row.run_id,
            "progress": _progress(row.progress),
        }
    )


def config(row: SyncConfig) -> sync_models.Config:
    """Settings, with masked alert addresses."""
    return sync_models.Config.model_validate(row.facts())


def fields(known: Sequence[mappings.Field], active: mappings.Mapping) -> list[models.FieldShown]:
    """Every field of the catalogue, with its targets in the active mapping."""
    targets: dict[tuple[str, str], list[str]] = {}
    for entry in active.entries:
        targets.setdefault((entry.entity, entry.field_key), []).append(entry.target)
    return [
        models.FieldShown(
            entity=field.entity,
            key=field.field_key,
            name=field.field_name,
            type=field.field_type,
            is_custom=field.is_custom,
            options=[models.Option(id=i, label=label) for i, label in field.options.items()],
            removed_at=field.removed_at,
            fills=targets.get(field.identity, []),
        )
        for field in known
    ]


def mapping(
    version: mappings.Version, known: Sequence[mappings.Field], *, is_active: bool
) -> models.MappingShown:
    """One version of the mapping, with the entries whose field the source no longer has."""
    return models.MappingShown(
        version=version.number,
        is_active=is_active,
        mapping=version.mapping.written(),
        saved_at=version.saved_at,
        saved_by=version.saved_by,
        vanished=[entry.name for entry in mappings.vanished(version.mapping, list(known))],
    )


def versions(saved: Sequence[mappings.Version], *, active: int) -> list[models.VersionShown]:
    """Saved versions, newest first, each with its changes since the one before."""
    return [
        models.VersionShown(
            version=version.number,
            is_active=version.number == active,
            saved_at=version.saved_at,
            saved_by=version.saved_by,
            changes=[
                _change(difference)
                for difference in mappings.differences(former.mapping, version.mapping)
            ],
        )
        for version, former in pairwise([*saved, mappings.Version()])
        if version.saved_at
    ]


def _change(difference: mappings.Difference) -> models.MappingChange:
    before, after = difference.before, difference.after
    return models.MappingChange(
        source=difference.entry.name,
        before=before.written() if before else None,
        after=after.written() if after else None,
    )


def proposal(offer: mappings.Proposal) -> models.ProposalShown:
    """An entry that may be added."""
    return models.ProposalShown(
        entity=offer.entry.entity,
        source=offer.entry.source,
        field_name=offer.field_name,
        target=offer.entry.target,
        as_=offer.entry.conversion,
        basis=offer.basis,
        reason=offer.reason,
    )


def preview(effect: mappings.Preview) -> models.PreviewShown:
    """The effect that a mapping would have."""
    return models.PreviewShown(
        rows={
            mart: [models.PreviewRow(**row) for row in rows] for mart, rows in effect.rows.items()
        },
        coverage=[models.CoverageShown.model_validate(entry) for entry in effect.coverage],
    )


def _company(account: Account) -> models.Company:
    return models.Company(
        id=account.company_id, name=account.company_name, domain=account.company_domain
    )


def _progress(stored: dict[str, Any] | None) -> sync_models.Progress | None:
    if not stored:
        return None
    made = RunProgress.of_stored(stored)
    return sync_models.Progress(
        phase=made.phase,
        stage=made.stage,
        pages=made.pages,
        rows=made.rows,
        seconds=made.seconds,
        rows_per_second=round(made.rows / made.seconds, 1) if made.seconds else 0.0,
        tokens=made.tokens,
        share=made.share,
        seconds_left=made.seconds_left,
        entities={
            name: sync_models.EntityProgress(
                rows=entity.rows, expected=entity.expected, is_complete=entity.is_complete
            )
            for name, entity in made.entities.items()
        },
    )
