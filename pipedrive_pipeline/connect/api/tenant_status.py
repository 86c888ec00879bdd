"""The status of one tenant and system: connection, entities, budget, syncs; and a sync's price.

Everything is read with the role of the app, except the budget: a company's budget is shared by all
tenants that are connected to it, and the app sees the usage of one tenant only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import args_row

from pipedrive_pipeline.connect.api import models, presenters, sync_models
from pipedrive_pipeline.connect.api.models import SyncType
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget import daily_budget
from pipedrive_pipeline.sync.budget.pricing import sweep_tokens
from pipedrive_pipeline.sync.runs import listing
from pipedrive_pipeline.sync.runs.listing import RunSummary
from pipedrive_pipeline.sync.runs.lock import WITHOUT_SOURCE
from pipedrive_pipeline.sync.runs.source_access import SourceAccess
from pipedrive_pipeline.sync.schedule.next_times import next_times, skipped_day
from pipedrive_pipeline.sync.status.entity_states import entity_states
from pipedrive_pipeline.sync.tenancy.configuration import (
    SyncConfig,
    entities_read,
    entities_read_of,
)
from pipedrive_pipeline.sync.webhooks.live_status import near_real_time
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connections


def status(services: Services, tenant: Tenant, system: str) -> sync_models.Status:
    """Connection, rights, rows, freshness, budget, the last run, and current runs."""
    names = {"tenant": tenant.slug, "system": system}
    with services.warehouse.as_app(tenant) as transaction:
        rows = connections.of_tenant(transaction, tenant)
        entities = entities_read_of(transaction, Scope(tenant, system))
        syncs = _syncs(transaction, names)
        states = entity_states(transaction, tenant, system)
        live = near_real_time(transaction, tenant, system)
    connection = presenters.connection(
        system, next((row for row in rows if row.system == system), None), entities.values()
    )
    return sync_models.Status(
        **dict(connection),
        entities=[presenters.entity(row) for row in states],
        near_real_time=presenters.near_real_time(live[0]) if live else None,
        budget=_budget(services, tenant, system, last=syncs.last),
        last_run=presenters.run(syncs.last) if syncs.last else None,
        current=[presenters.run(row) for row in syncs.current],
    )


def connections_of(services: Services, tenant: Tenant) -> list[models.Connection]:
    """Every system, with the tenant's connection to it."""
    with services.warehouse.as_app(tenant) as transaction:
        by_system = {row.system: row for row in connections.of_tenant(transaction, tenant)}
        entities = {
            key: entities_read_of(transaction, Scope(tenant, key)).values()
            for key in registry.system_keys()
        }
    return [
        presenters.connection(key, by_system.get(key), entities[key])
        for key in registry.system_keys()
    ]


def next_syncs(config: SyncConfig, zone: ZoneInfo) -> sync_models.NextSyncs:
    """When the schedule will sync a tenant with these settings next."""
    now = datetime.now(UTC)
    at = config.sync_time
    times = next_times(now, at, zone, every_hours=config.every_hours) if config.auto_sync else []
    return sync_models.NextSyncs(
        at=times, skipped_on=skipped_day(now, at, zone) if config.auto_sync else None
    )


def _syncs(transaction: psycopg.Connection, names: dict[str, str]) -> listing.CurrentRuns:
    cursor = transaction.cursor(row_factory=args_row(RunSummary))
    return listing.current_runs(cursor.execute(listing.CURRENT_RUNS, names).fetchall())


def _budget(
    services: Services, tenant: Tenant, system: str, *, last: RunSummary | None
) -> sync_models.BudgetToday:
    now = datetime.now(UTC)
    rest = daily_budget.standing(services.warehouse, Scope(tenant, system), now)
    is_paused = last and last.status == "paused" and last.resume_at and last.resume_at > now
    return sync_models.BudgetToday(
        limit=rest.limit,
        used=max(0, rest.limit - rest.left),
        left=rest.left,
        share=rest.share,
        resets_at=rest.resets_at,
        resume_at=last.resume_at if last and is_paused else None,
    )


def price(
    services: Services, tenant: Tenant, system: str, sync_type: SyncType
) -> sync_models.PriceOfRead:
    """The price of a sync. For a full one the source is asked about entities never read whole.

    Raises:
        NotConnected, ReauthNeeded, BudgetSpent, SourceUnavailable: the source had to be asked.
    """
    scope = Scope(tenant, system)
    if sync_type == "full":
        access = SourceAccess(services.vault.warehouse, services.vault.settings, scope)
        estimate = access.price(entities_read(services.warehouse, scope).values())
        return sync_models.PriceOfRead(
            sync_type=sync_type,
            tokens=estimate.tokens,
            tokens_least=estimate.tokens_least,
            daily_limit=estimate.limit,
            entities=estimate.entities,
            rows=dict(estimate.rows),
        )
    tokens = _tokens_without_call(services, scope, sync_type)
    limit = daily_budget.standing(services.warehouse, scope, datetime.now(UTC)).limit
    total = sum(tokens.values())
    return sync_models.PriceOfRead(
        sync_type=sync_type,
        tokens=total,
        tokens_least=total,
        daily_limit=limit,
        entities=tokens,
        rows={},
    )


def _tokens_without_call(services: Services, scope: Scope, sync_type: SyncType) -> dict[str, int]:
    """The price of a sync by entity, as far as it is known here."""
    if sync_type in WITHOUT_SOURCE:
        return {}
    if sync_type == "sweep":
        with services.warehouse.transaction(scope.tenant) as connection:
            return sweep_tokens(connection, scope)
    entities = entities_read(services.warehouse, scope)
    return {name: entity.cost.tokens_of_no_change for name, entity in entities.items()}
