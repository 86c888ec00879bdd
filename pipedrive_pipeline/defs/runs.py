"""One tenant's run as a Dagster resource: it holds the lock and the history row while ops work.

The tags of the Dagster run name the tenant and the kind of run.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import dagster as dg

from pipedrive_pipeline.connectors.registry import DEFAULT_SYSTEM
from pipedrive_pipeline.errors import BadInput, Permanent
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.runs import history
from pipedrive_pipeline.sync.runs.lock import run_lock
from pipedrive_pipeline.sync.runs.run import TenantRun, open_run
from pipedrive_pipeline.sync.tenancy.registry import known
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import warehouse_of
from pipedrive_pipeline.warehouse.migrations import require_current

PARTITION_TAG = "dagster/partition"
SYNC_TYPE_TAG = "pipeline/sync_type"
TRIGGER_TAG = "pipeline/trigger"
REQUEST_TAG = "pipeline/request"  # the id of the request that started the run
RESTART_TAG = "pipeline/restart"  # "true": an unfinished full read starts over
CONFIRM_TAG = "pipeline/confirm"  # "true": a person has confirmed that many rows are really gone
MAX_RETRIES_TAG = "dagster/max_retries"  # Dagster's own, of run retries
SYSTEM_TAG = "pipeline/system"  # absent: the default system


@dg.resource(description="One run of one tenant: its lock, its history row, its reads and builds.")
def tenant_run(context: dg.InitResourceContext) -> Iterator[TenantRun]:
    """Yields the run for as long as the Dagster run lasts; refuses busy tenants at once."""
    with _retried_only_if_it_can_help(context):
        settings = load_settings()
        dagster_run = context.run
        facts = facts_of(
            dagster_run.tags if dagster_run else {}, dagster_run.run_id if dagster_run else None
        )
        warehouse = warehouse_of(settings)
        require_current(warehouse)
        known(warehouse, facts.scope.tenant)
    with run_lock(warehouse, facts.scope, facts.sync_type) as lock:
        mark_dead_runs(context.instance, history.settle_dead(lock))
        with open_run(warehouse, settings, facts, lock) as run:
            yield run


@contextmanager
def _retried_only_if_it_can_help(context: dg.InitResourceContext) -> Iterator[None]:
    """Stops retries that cannot help: Dagster treats an error before the first step as a crash."""
    try:
        yield
    except Permanent:
        if context.instance and context.run:
            context.instance.add_run_tags(context.run.run_id, {MAX_RETRIES_TAG: "0"})
        raise


def facts_of(tags: Mapping[str, str], run_id: str | None) -> history.RunFacts:
    """Returns the tenant, kind of sync and trigger that a Dagster run's tags name.

    Raises:
        BadInput: the run has no partition.
    """
    if PARTITION_TAG not in tags:
        raise BadInput("this run names no tenant; choose a partition of `tenants`.")
    return history.RunFacts(
        scope=Scope(Tenant(tags[PARTITION_TAG]), tags.get(SYSTEM_TAG, DEFAULT_SYSTEM)),
        sync_type=cast("history.SyncType", tags.get(SYNC_TYPE_TAG, "incremental")),
        trigger=_trigger(tags),
        dagster_run_id=run_id,
        is_restarted=tags.get(RESTART_TAG) == "true",
        is_confirmed=tags.get(CONFIRM_TAG) == "true",
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
