"""What a system's page shows, read from the control tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from pipedrive_pipeline.connect.api import sync_models, tenant_status
from pipedrive_pipeline.connect.api.sync_models import EntityStatus, Status
from pipedrive_pipeline.connect.pages.charts import Chart, charts_of
from pipedrive_pipeline.connect.pages.run_view import RunView
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import System
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.day import BudgetDay, budget_day
from pipedrive_pipeline.sync.budget.pricing import estimated_tokens, sweep_tokens
from pipedrive_pipeline.sync.runs import held_deletions
from pipedrive_pipeline.sync.runs.held_deletions import HeldDeletions
from pipedrive_pipeline.sync.schedule.next_times import next_times
from pipedrive_pipeline.sync.status.days import DayFigures, day_figures
from pipedrive_pipeline.sync.tenancy import configuration

READING_TYPES = frozenset({"full", "incremental"})  # "sync now" would only join such a run


@dataclass(frozen=True)
class EntityView:
    """The completeness of one kind of records."""

    status: EntityStatus
    held: HeldDeletions | None

    @property
    def state(self) -> tuple[str, str]:
        """The shape of its state, and the key of the word `system.entity.<word>`."""
        if self.held and self.held.decision != "confirmed":
            return "warn", "held"
        if self.status.state == "complete" and self.status.missing:
            return "run", "arriving"
        return {
            "complete": ("ok", "complete"),
            "skipped": ("warn", "skipped"),
            "off": ("off", "off"),
            "paused": ("pause", "paused"),
            "partial": ("warn", "partial"),
            "failed": ("bad", "failed"),
        }[self.status.state]


@dataclass(frozen=True)
class SystemView:
    """One tenant's system: connection, runs, completeness, budget, the last days."""

    system: System
    status: Status
    entities: list[EntityView]
    held: list[HeldDeletions]  # that wait for a decision
    budget: BudgetDay
    days: list[DayFigures]
    charts: list[Chart]
    full_tokens: int
    sweep_tokens: int
    next_at: datetime | None

    @property
    def running(self) -> RunView | None:
        """The newest run that runs."""
        runs = (run for run in self.status.current if run.status == "running")
        return next((RunView(run) for run in runs), None)

    @property
    def waiting(self) -> list[RunView]:
        """Requests that wait for a run."""
        return [RunView(run) for run in self.status.current if run.status == "queued"]

    @property
    def last(self) -> RunView | None:
        """The run that ended last."""
        return RunView(self.status.last_run) if self.status.last_run else None

    @property
    def is_connected(self) -> bool:
        """True if the source can be read."""
        return self.status.state == "connected"

    @property
    def is_never_read(self) -> bool:
        """True if nothing was ever read and nothing is on its way."""
        return self.is_connected and not self.status.entities and not self.status.current

    @property
    def is_reading(self) -> bool:
        """True if changes are read, or will be, without another request."""
        return any(run.sync_type in READING_TYPES for run in self.status.current)

    @property
    def summary(self) -> str:
        """What matters most now, a key of the texts `system.lede`."""
        shapes = {entity.state[0] for entity in self.entities}
        is_full_running = self.running is not None and self.running.run.sync_type == "full"
        conditions = {
            "reauth": self.status.state == "needs_reauth",
            "disconnected": not self.is_connected,
            "never_read": self.is_never_read,
            "decide": bool(self.held),
            "failed": "bad" in shapes,
            "paused": self.status.budget.resume_at is not None,
            "reading": is_full_running or not self.entities,
            "partly": "warn" in shapes,
        }
        return next((name for name, is_true in conditions.items() if is_true), "complete")

    @property
    def headline(self) -> str:
        """What title and first sentence say; it changes with them."""
        is_paused = self.status.budget.resume_at is not None
        return f"{self.status.state} {self.summary}{' paused' if is_paused else ''}"

    @property
    def last_sweep_at(self) -> datetime | None:
        """Deletions of every kind are marked up to then; None if one was never compared."""
        times = [
            entity.status.last_sweep_at
            for entity in self.entities
            if entity.status.mart and entity.status.state not in {"off", "skipped"}
        ]
        known = [at for at in times if at is not None]
        return min(known) if known and len(known) == len(times) else None


def system_view(services: Services, scope: Scope, zone: ZoneInfo) -> SystemView:
    """Everything that the page of one system shows; no call to the source."""
    now = datetime.now(UTC)
    status = tenant_status.status(services, scope.tenant, scope.system)
    with services.warehouse.as_app(scope.tenant) as connection:
        held = {row.entity: row for row in held_deletions.held(connection, scope)}
        days = day_figures(connection, scope, now, zone)
        config = configuration.read(connection, services.vault.cipher, scope)
    with services.warehouse.transaction(scope.tenant) as connection:
        reads = configuration.entities_read_of(connection, scope)
        prices = estimated_tokens(connection, scope)
        sweep = sum(sweep_tokens(connection, scope).values())
    schedule_zone = ZoneInfo(config.time_zone) if config.time_zone else zone
    upcoming = next_times(
        now, config.sync_time, schedule_zone, every_hours=config.every_hours, count=1
    )
    return SystemView(
        system=registry.system(scope.system),
        status=status,
        entities=[EntityView(row, held.get(row.name)) for row in _shown(status)],
        held=[row for row in held.values() if row.decision is None],
        budget=budget_day(services.warehouse, scope, now),
        days=days,
        charts=charts_of(days),
        full_tokens=sum(tokens for name, tokens in prices.items() if name in reads),
        sweep_tokens=sweep,
        next_at=upcoming[0] if config.auto_sync and upcoming else None,
    )


def _shown(status: sync_models.Status) -> list[EntityStatus]:
    """Kinds with rows of our own first, in the order of building; others only with a problem."""
    order = [mart.name for mart in MARTS]
    with_rows = sorted(
        (entity for entity in status.entities if entity.mart),
        key=lambda entity: order.index(entity.mart or ""),
    )
    others = [
        entity
        for entity in status.entities
        if not entity.mart and entity.state not in {"complete", "off"}
    ]
    return [*with_rows, *others]
