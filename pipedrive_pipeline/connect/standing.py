"""Where a tenant stands with one system, put together from the rooms that know a part of it.

Belongs here: what `status` and the page show, and a sync's price. Does not belong here: queries.

Everything is read as the app, but for the budget: what a company has left is shared by all tenants
that are connected to it, and the app sees one tenant's usage only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from msgspec import Struct
from msgspec.structs import asdict

from pipedrive_pipeline.connect import polled_models, shapes, sync_models
from pipedrive_pipeline.connect.models import SyncType
from pipedrive_pipeline.connect.requests import House
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.sync import budget, overview, runs
from pipedrive_pipeline.sync.access import SourceAccess
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connections
from pipedrive_pipeline.warehouse.questions import SideBySide


@dataclass(frozen=True)
class Seen:
    """What the app itself may see of one tenant."""

    connection: connections.Connection | None
    syncs: runs.Standing
    entities: list[overview.EntityOverview]


class _Answers(Struct):
    connections: list[dict[str, Any]]
    runs: list[runs.ShownRun]
    entities: list[overview.EntityOverview]


_QUESTIONS = SideBySide(
    _Answers,
    connections=connections.SHOWN,
    runs=runs.STANDING,
    entities=overview.ENTITIES,
)


def seen(connection: psycopg.Connection, tenant: Tenant, system: str) -> Seen:
    """All of it, in a transaction that shows this tenant only."""
    found = _QUESTIONS.ask(connection, tenant=tenant.slug, system=system)
    held = (one for one in found.connections if one["system"] == system)
    return Seen(
        connection=next(map(connections.of_json, held), None),
        syncs=runs.standing(found.runs),
        entities=found.entities,
    )


def status(house: House, tenant: Tenant, system: str, seen: Seen) -> polled_models.Status:
    """State, company, rights, rows, freshness, budget, the last run, and what runs now."""
    now = datetime.now(UTC)
    left = budget.standing(house.warehouse, tenant, system, now)
    last = seen.syncs.last
    is_paused = last and last.status == "paused" and last.resume_at and last.resume_at > now
    return polled_models.Status(
        **asdict(shapes.connection(system, seen.connection)),
        entities=[shapes.entity(one) for one in seen.entities],
        budget=polled_models.Budget(
            limit=left.limit,
            used=max(0, left.limit - left.left),
            left=left.left,
            share=left.share,
            resets_at=left.resets_at,
            resume_at=last.resume_at if last and is_paused else None,
        ),
        last_run=shapes.run(last) if last else None,
        current=[shapes.run(one) for one in seen.syncs.current],
    )


def price(house: House, tenant: Tenant, system: str, sync_type: SyncType) -> sync_models.Price:
    """What a sync would cost; a full one asks the source about what was never read whole.

    Raises:
        NotConnected, ReauthNeeded, BudgetSpent, SourceUnavailable: the source had to be asked.
    """
    entities = registry.connector(system).entities
    if sync_type == "full":
        access = SourceAccess(house.vault.warehouse, house.vault.settings, tenant, system)
        found = access.price(entities.values())
        tokens, limit = dict(found.entities), found.limit
    else:
        tokens = {name: entity.tokens_per_page for name, entity in entities.items()}
        limit = budget.standing(house.warehouse, tenant, system, datetime.now(UTC)).limit
    return sync_models.Price(
        sync_type=sync_type, tokens=sum(tokens.values()), daily_limit=limit, entities=tokens
    )
