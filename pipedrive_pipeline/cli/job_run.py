"""Runs a Dagster job in this process, on the configured instance, so that the UI shows the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pipedrive_pipeline.cli.app import importing
from pipedrive_pipeline.cli.output import errors as error_output
from pipedrive_pipeline.cli.session import CommandSession, enter_dagster, sandbox_within_reach
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput, BudgetSpent, Cancelled, ExitCode, PipelineError
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.marts import MartsBuilt
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.daily_budget import require_not_paused
from pipedrive_pipeline.sync.budget.pricing import Price
from pipedrive_pipeline.sync.runs.history import RunFacts, SyncType
from pipedrive_pipeline.sync.runs.lock import WITHOUT_SOURCE, lock_of_run, run_lock
from pipedrive_pipeline.sync.tenancy.registry import known, scopes_of_run
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.reused_connection import reusing

JOBS: Mapping[SyncType, str] = {
    "full": "full_resync",
    "incremental": "sync",
    "sweep": "sweep",
    "remap": "remap",
    "verify": "verify",
}
WORST_FIRST = (
    ExitCode.FAILED,
    ExitCode.USAGE,
    ExitCode.PERSON_MUST_ACT,
    ExitCode.BUSY,
    ExitCode.PAUSED,
    ExitCode.OK,
)


@dataclass(frozen=True)
class Outcome:
    """The result of the run of one system."""

    scope: Scope
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
        """The exit code of the run."""
        if self.paused_until:
            return ExitCode.PAUSED
        if self.is_success:
            return ExitCode.OK
        ours = [error for error in self.errors if isinstance(error, PipelineError)]
        return ours[0].exit_code if ours else ExitCode.FAILED


@dataclass(frozen=True)
class RunOptions:
    """The options of a run."""

    sync_type: SyncType
    entities: Sequence[str] | None = None  # None: all
    is_restarted: bool = False
    is_confirmed: bool = False
    on_page: Callable[[EntityRead], None] = lambda _read: None
    on_price: Callable[[Scope, Price], None] = lambda _scope, _price: None


def run_systems(
    session: CommandSession,
    tenant: Tenant,
    system: str | None,
    options: RunOptions,
    *,
    on_end: Callable[[Outcome], None],
) -> ExitCode:
    """Runs one system, or one after another all that apply, and returns the worst exit code.

    The error of one of several systems is printed, and the next one runs.

    Raises:
        BadInput: no system has one of the entities.
        NotConnected, UnknownTenant: nothing was begun.
        PipelineError: the run of a single system could not begin.
    """
    with reusing(session.warehouse) as warehouse:
        return _run_systems(
            replace(session, warehouse=warehouse), tenant, system, options, on_end=on_end
        )


def _run_systems(
    session: CommandSession,
    tenant: Tenant,
    system: str | None,
    options: RunOptions,
    *,
    on_end: Callable[[Outcome], None],
) -> ExitCode:
    known(session.warehouse, tenant)
    scopes = scopes_of_run(session.warehouse, tenant, system, options.sync_type)
    scopes = having_entities(scopes, options.entities)
    codes = []
    for scope in scopes:
        if len(scopes) > 1:
            error_output.print(f"{tenant}: {scope.system}", markup=False)
        try:
            outcome = run_system(session, scope, options)
        except PipelineError as error:
            if len(scopes) == 1:
                raise
            error_output.print(f"{scope.system}: {error}", markup=False, soft_wrap=True)
            codes.append(error.exit_code)
        else:
            on_end(outcome)
            codes.append(outcome.exit_code)
    return min(codes, key=WORST_FIRST.index)


def having_entities(scopes: tuple[Scope, ...], entities: Sequence[str] | None) -> tuple[Scope, ...]:
    """Returns the scopes whose system has one of these entities; all if none are named.

    Raises:
        BadInput: an entity that none of them has.
    """
    if entities is None:
        return scopes
    names = {scope: set(registry.system(scope.system).by_name) for scope in scopes}
    for entity in entities:
        if not any(entity in of_system for of_system in names.values()):
            there = dict.fromkeys(
                name for scope in scopes for name in registry.system(scope.system).by_name
            )
            raise BadInput(f"--entity {entity}: there is no such entity; use {', '.join(there)}.")
    return tuple(scope for scope in scopes if names[scope].intersection(entities))


def run_system(session: CommandSession, scope: Scope, options: RunOptions) -> Outcome:
    """Runs one job for one system to its end.

    Raises:
        Busy: another run of this system is alive; answered before Dagster is even loaded.
        KeyboardInterrupt: a person ended it; it is in the history.
        StillPaused: the day's budget has not returned; answered just as early.
    """
    with (
        sandbox_within_reach(session.settings, scope.tenant),
        run_lock(session.warehouse, scope, options.sync_type) as lock,
    ):
        if options.sync_type not in WITHOUT_SOURCE:
            require_not_paused(session.warehouse, scope, datetime.now(UTC))
        logging.getLogger("dagster").setLevel(logging.CRITICAL)  # its events are in the UI
        with importing():
            enter_dagster(session)
            import dagster as dg

            from pipedrive_pipeline.defs.failures import AT_COMMAND_LINE, WATCHED_TAG
            from pipedrive_pipeline.defs.jobs import selection_of
            from pipedrive_pipeline.defs.location import location
            from pipedrive_pipeline.defs.partitions import TENANTS
            from pipedrive_pipeline.defs.runs import (
                LOCK_TAG,
                REPOSITORY,
                REPOSITORY_TAG,
                SYSTEM_TAG,
                TRIGGER_TAG,
                SystemRuns,
                mark_dead_runs,
                new_run_id,
            )
            from pipedrive_pipeline.sync.runs import history
            from pipedrive_pipeline.sync.runs.run import open_run

            instance = dg.DagsterInstance.get()

        facts = RunFacts(
            scope,
            options.sync_type,
            "manual",
            new_run_id(),
            is_restarted=options.is_restarted,
            is_confirmed=options.is_confirmed,
        )
        with instance:
            instance.add_dynamic_partitions(str(TENANTS.name), [scope.tenant.slug])
            mark_dead_runs(instance, history.settle_dead(lock))
            with (
                open_run(
                    session.warehouse,
                    session.settings,
                    facts,
                    lock,
                    on_page=options.on_page,
                    on_price=lambda price: options.on_price(scope, price),
                ) as run,
                closing(
                    SystemRuns(session.warehouse, (scope,), lambda _scope: nullcontext(run))
                ) as runs,
            ):
                result = (
                    location(runs)
                    .resolve_job_def(JOBS[options.sync_type])
                    .execute_in_process(
                        instance=instance,
                        partition_key=scope.tenant.slug,
                        run_id=facts.dagster_run_id,
                        tags={
                            REPOSITORY_TAG: REPOSITORY,
                            SYSTEM_TAG: scope.system,
                            LOCK_TAG: lock_of_run(scope, options.sync_type),
                            TRIGGER_TAG: "manual",
                            WATCHED_TAG: "true",
                        },
                        asset_selection=selection_of(scope, options.sync_type, options.entities),
                        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                        raise_on_error=False,
                    )
                )
    row = run.row
    if any(isinstance(error, Cancelled) and error.who == AT_COMMAND_LINE for error in row.errors):
        raise KeyboardInterrupt  # which Dagster has turned into the end of the run
    return Outcome(
        scope,
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
