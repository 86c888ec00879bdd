"""The tenant's runs as a Dagster resource: each holds its lock and history row while it works.

The tags of the Dagster run name the tenant, the kind of run and, in runs that we start, the system.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import TypeVar, cast

import dagster as dg

from pipedrive_pipeline.errors import BadInput, Busy, Cancelled, Permanent, PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.runs import cancellation, history, requests
from pipedrive_pipeline.sync.runs.lock import run_lock
from pipedrive_pipeline.sync.runs.run import TenantRun, open_run
from pipedrive_pipeline.sync.tenancy.registry import known, scopes_of_run
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse, warehouse_of
from pipedrive_pipeline.warehouse.migrations import require_current
from pipedrive_pipeline.warehouse.reused_connection import reusing

PARTITION_TAG = "dagster/partition"
SYNC_TYPE_TAG = "pipeline/sync_type"
TRIGGER_TAG = "pipeline/trigger"
REQUEST_TAG = "pipeline/request"  # the id of the request that started the run
MAX_RETRIES_TAG = "dagster/max_retries"  # Dagster's own, of run retries
RETRY_TAG = "dagster/retry_number"  # Dagster's own, of a run that run retries started
LOCK_TAG = "pipeline/lock"  # the queue starts one run per value; see dagster.yaml
SYSTEM_TAG = "pipeline/system"  # absent: every system that the tenant has connected

# Dagster's own: the page of a job shows the runs that have it. One that `execute_in_process` starts
# has none.
REPOSITORY_TAG = ".dagster/repository"
REPOSITORY = "__repository__@pipedrive_pipeline"

RUN_CONFIG = {
    "restart": dg.Field(
        bool,
        default_value=False,
        description="Of full_resync: an unfinished full read starts over instead of going on.",
    ),
    "confirm": dg.Field(
        bool,
        default_value=False,
        description=(
            "Of sweep: a person has looked, and all rows that are no longer listed are really "
            "gone. Without it a sweep stops at more than 10 % and more than 50 rows of a kind."
        ),
    ),
}

T = TypeVar("T")
OpenRun = Callable[[Scope], AbstractContextManager[TenantRun]]


class SystemRuns:
    """The runs of one Dagster run: one per system, each with its own lock and history row.

    A run stays open when an attempt fails that Dagster will repeat; the next attempt goes on
    with it, and leaves out the systems whose run has ended.

    Attributes:
        warehouse: the database, for what else the Dagster run asks it.
        refusal: why nothing can be run; the step raises it. An error before the first step would be
            taken for a crash, tried again, and shown with forty lines of Dagster's own.
    """

    def __init__(self, warehouse: Warehouse, scopes: tuple[Scope, ...], open_: OpenRun) -> None:
        self.warehouse = warehouse
        self.refusal: PipelineError | None = None
        self._waiting = dict.fromkeys(scopes)
        self._open_run = open_
        self._open: dict[Scope, tuple[TenantRun, ExitStack]] = {}

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes whose run has not ended, in the order in which they run."""
        return tuple(self._waiting)

    def open_first(self) -> None:
        """Opens the first run whose lock is free; refuses if every one of them is busy."""
        refusals: list[Busy] = []
        for scope in self._waiting:
            try:
                self._opened(scope)
            except Busy as busy:
                refusals.append(busy)
            else:
                return
        self.refusal = next(iter(refusals), None)

    @contextmanager
    def taken(self, scope: Scope) -> Iterator[TenantRun]:
        """Yields the scope's run, which ends with the block unless Dagster will repeat it.

        Raises:
            Busy: another run has the lock.
        """
        try:
            yield self._opened(scope)
        except dg.Failure as failure:
            if not failure.allow_retries:
                self._end(scope)
            raise
        except BaseException:
            self._end(scope)
            raise
        self._end(scope)

    def ending_with(self, scope: Scope, work: Generator[T, None, None]) -> Generator[T, None, None]:
        """Returns the work of an open run, which is closed before the run ends.

        An interrupt that comes while Dagster stores a result is raised in Dagster's own code: the
        work would be left where it is, and its run would end as if nothing had happened.
        """
        return self._open[scope][1].enter_context(closing(work))

    def close(self) -> None:
        """Ends the runs that are still open."""
        for scope in [*self._open]:
            self._end(scope)

    def _opened(self, scope: Scope) -> TenantRun:
        if scope not in self._open:
            stack = ExitStack()
            self._open[scope] = stack.enter_context(self._open_run(scope)), stack
        return self._open[scope][0]

    def _end(self, scope: Scope) -> None:
        self._waiting.pop(scope, None)
        if scope in self._open:
            self._open.pop(scope)[1].close()


@dg.resource(
    config_schema=RUN_CONFIG,
    description="One tenant's runs, one per system: lock, history row, reads and builds.",
)
def system_runs(context: dg.InitResourceContext) -> Iterator[SystemRuns]:
    """Yields the runs for as long as the Dagster run lasts; refuses busy tenants at once."""
    dagster_run = context.run
    tags = dagster_run.tags if dagster_run else {}
    settings = load_settings()
    with reusing(warehouse_of(settings)) as warehouse:

        @contextmanager
        def open_(scope: Scope) -> Iterator[TenantRun]:
            facts = facts_of(
                tags, scope, dagster_run.run_id if dagster_run else None, context.resource_config
            )
            try:
                with run_lock(warehouse, scope, facts.sync_type) as lock:
                    mark_dead_runs(context.instance, history.settle_dead(lock))
                    with open_run(warehouse, settings, facts, lock) as run:
                        yield run
            except Busy:
                # Of a run that died; Dagster gives it no other. A request keeps no confirmation.
                is_plain = not (facts.is_restarted or facts.is_confirmed)
                if RETRY_TAG in tags and is_plain:
                    requests.requeue(warehouse, facts, who="a sync that was killed")
                raise

        runs = _begun(warehouse, tags, open_)
        try:
            yield runs
        finally:
            runs.close()


def _begun(warehouse: Warehouse, tags: Mapping[str, str], open_: OpenRun) -> SystemRuns:
    """Returns the runs with the first of them open, or with the reason why there are none."""
    try:
        require_current(warehouse)
        cancellation.require_not_cancelled(warehouse, tenant_of(tags), tags.get(REQUEST_TAG))
        runs = SystemRuns(warehouse, scopes_of(warehouse, tags), open_)
    except (Permanent, Cancelled) as error:
        runs = SystemRuns(warehouse, (), open_)
        runs.refusal = error
    else:
        runs.open_first()
    return runs


def tenant_of(tags: Mapping[str, str]) -> Tenant:
    """Returns the tenant that a Dagster run's tags name.

    Raises:
        BadInput: the run has no partition.
    """
    if PARTITION_TAG not in tags:
        raise BadInput(
            "this run names no tenant; choose a partition of `tenants`, and for several of them "
            "one run each."
        )
    return Tenant(tags[PARTITION_TAG])


def sync_type_of(tags: Mapping[str, str]) -> history.SyncType:
    """Returns the kind of run that a Dagster run's tags name."""
    return cast("history.SyncType", tags.get(SYNC_TYPE_TAG, "incremental"))


def scopes_of(warehouse: Warehouse, tags: Mapping[str, str]) -> tuple[Scope, ...]:
    """Returns the tenant's systems that a Dagster run takes, in the order of registration.

    Raises:
        BadInput: the run has no partition.
        NotConnected: the tenant has connected none.
        UnknownTenant: it is not registered.
    """
    tenant = known(warehouse, tenant_of(tags)).tenant
    return scopes_of_run(warehouse, tenant, tags.get(SYSTEM_TAG), sync_type_of(tags))


def facts_of(
    tags: Mapping[str, str], scope: Scope, run_id: str | None, config: Mapping[str, bool]
) -> history.RunFacts:
    """Returns the kind, trigger and options of a Dagster run, for one of its systems."""
    return history.RunFacts(
        scope=scope,
        sync_type=sync_type_of(tags),
        trigger=_trigger(tags),
        dagster_run_id=run_id,
        is_restarted=config["restart"],
        is_confirmed=config["confirm"],
    )


def new_run_id() -> str:
    """Returns an id for a run that is started in this process."""
    return str(uuid.uuid4())


def mark_dead_runs(instance: dg.DagsterInstance | None, run_ids: list[str]) -> None:
    """Ends dead runs in Dagster, which shows them as started after a reboot."""
    for run_id in run_ids:
        dead = instance.get_run_by_id(run_id) if instance else None
        if instance and dead and not dead.is_finished:
            instance.report_run_failed(dead, "The run's process is gone; its tenant lock is free.")


def _trigger(tags: Mapping[str, str]) -> history.Trigger:
    if TRIGGER_TAG in tags:
        return cast("history.Trigger", tags[TRIGGER_TAG])
    if "dagster/backfill" in tags:
        return "backfill"
    return "schedule" if "dagster/schedule_name" in tags else "manual"
