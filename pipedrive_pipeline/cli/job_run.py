"""Runs a Dagster job in this process, on the configured instance, so that the UI shows the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipedrive_pipeline.cli.session import CommandSession, enter_dagster, sandbox_within_reach
from pipedrive_pipeline.connectors.registry import DEFAULT_SYSTEM
from pipedrive_pipeline.errors import BudgetSpent, ExitCode, PipelineError
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.marts import MartsBuilt
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.daily_budget import require_not_paused
from pipedrive_pipeline.sync.budget.pricing import Price
from pipedrive_pipeline.sync.runs.history import RunFacts, SyncType
from pipedrive_pipeline.sync.runs.lock import WITHOUT_SOURCE, run_lock
from pipedrive_pipeline.sync.tenancy.registry import known
from pipedrive_pipeline.tenants import Tenant


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    run_id: str
    is_green: bool  # as Dagster shows it: a pause is no failure
    reads: dict[str, EntityRead] = field(default_factory=dict)
    built: MartsBuilt | None = None
    errors: tuple[BaseException, ...] = ()
    api_calls: int = 0  # of the whole run: its price is computed before any entity is read
    tokens_spent: int = 0
    warnings: Mapping[str, str] = field(default_factory=dict)  # message by code
    comparison: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by mart

    @property
    def is_success(self) -> bool:
        """True if everything was done."""
        return self.is_green and self.paused_until is None

    @property
    def paused_until(self) -> datetime | None:
        """The time at which a run paused by the day's budget continues; None if not paused."""
        pauses = (error for error in self.errors if isinstance(error, BudgetSpent))
        return next((pause.resets_at for pause in pauses), None)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command."""
        if self.paused_until:
            return ExitCode.PAUSED
        if self.is_success:
            return ExitCode.OK
        ours = [error for error in self.errors if isinstance(error, PipelineError)]
        return ours[0].exit_code if ours else ExitCode.FAILED


def run_job(
    session: CommandSession,
    tenant: Tenant,
    job_name: str,
    *,
    sync_type: SyncType,
    entities: list[str] | None = None,
    is_restarted: bool = False,
    is_confirmed: bool = False,
    on_page: Callable[[EntityRead], None] = lambda _read: None,
    on_price: Callable[[Price], None] = lambda _price: None,
) -> Outcome:
    """Runs one job for one tenant to its end.

    Raises:
        UnknownTenant: before anything begins.
        Busy: another run of this tenant is alive; answered before Dagster is even loaded.
        StillPaused: the day's budget has not returned; answered just as early.
    """
    known(session.warehouse, tenant)
    with (
        sandbox_within_reach(session.settings, tenant),
        run_lock(session.warehouse, Scope(tenant, DEFAULT_SYSTEM), sync_type) as lock,
    ):
        if sync_type not in WITHOUT_SOURCE:
            require_not_paused(session.warehouse, Scope(tenant, DEFAULT_SYSTEM), datetime.now(UTC))
        logging.getLogger("dagster").setLevel(logging.CRITICAL)  # its events are in the UI
        enter_dagster(session)
        import dagster as dg

        from pipedrive_pipeline.defs.failures import WATCHED_TAG
        from pipedrive_pipeline.defs.location import location
        from pipedrive_pipeline.defs.partitions import TENANTS
        from pipedrive_pipeline.defs.runs import TRIGGER_TAG, mark_dead_runs, new_run_id
        from pipedrive_pipeline.sync.runs import history
        from pipedrive_pipeline.sync.runs.run import open_run

        facts = RunFacts(
            Scope(tenant, DEFAULT_SYSTEM),
            sync_type,
            "manual",
            new_run_id(),
            is_restarted=is_restarted,
            is_confirmed=is_confirmed,
        )
        with dg.DagsterInstance.get() as instance:
            _keep_connections(instance)
            instance.add_dynamic_partitions(str(TENANTS.name), [tenant.slug])
            mark_dead_runs(instance, history.settle_dead(lock))
            with open_run(
                session.warehouse,
                session.settings,
                facts,
                lock,
                on_page=on_page,
                on_price=on_price,
            ) as run:
                result = (
                    location(run)
                    .resolve_job_def(job_name)
                    .execute_in_process(
                        instance=instance,
                        partition_key=tenant.slug,
                        run_id=facts.dagster_run_id,
                        tags={TRIGGER_TAG: "manual", WATCHED_TAG: "true"},
                        asset_selection=_closure(entities),
                        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                        raise_on_error=False,
                    )
                )
    row = run.row
    return Outcome(
        result.run_id,
        result.success,
        row.reads,
        row.built,
        tuple(row.errors),
        row.api_calls,
        row.tokens_spent,
        row.warnings,
        row.comparison(),
    )


def _keep_connections(instance: dg.DagsterInstance) -> None:  # type: ignore[name-defined] # noqa: F821
    """Lets Dagster reuse connections; without this it opened 290 in a run without changes.

    For five seconds each, so that none that something has cut meanwhile is used.
    """
    instance.optimize_for_webserver(statement_timeout=0, pool_recycle=5, max_overflow=10)


def _closure(entities: list[str] | None) -> list[dg.AssetKey] | None:  # type: ignore[name-defined] # noqa: F821
    """The chosen raw assets and all that is made from them; None for everything."""
    if entities is None:
        return None
    import dagster as dg

    from pipedrive_pipeline.defs.marts import ANALYTICS_SPECS, CRM_SPECS

    raw = [dg.AssetKey([DEFAULT_SYSTEM, entity]) for entity in entities]
    return [*raw, *(spec.key for spec in (*CRM_SPECS, *ANALYTICS_SPECS))]
