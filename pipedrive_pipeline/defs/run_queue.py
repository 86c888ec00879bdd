"""The queue of runs: one that names no lock gets the tag of the lock that it will need.

`dagster.yaml` names this class, and limits runs by the tag `pipeline/lock`. Runs that we request
carry it; for one that is started in the UI or by a backfill it is added here, so that the run waits
instead of being refused while another has the lock. A run over several systems, whose locks are
taken by different runs, becomes one run for each: the tag has room for one lock. A run that cannot
begin fails here at once.
Source: https://docs.dagster.io/deployment/execution/run-coordinators (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from pipedrive_pipeline.defs.raw import RAW_KEYS
from pipedrive_pipeline.defs.runs import (
    LOCK_TAG,
    MAX_RETRIES_TAG,
    PARTITION_TAG,
    SYSTEM_TAG,
    new_run_id,
    scopes_of,
    sync_type_of,
)
from pipedrive_pipeline.errors import NotConnected, PipelineError, UnknownTenant
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.runs.lock import lock_of_run
from pipedrive_pipeline.warehouse.database import warehouse_of


class RunQueue(dg.QueuedRunCoordinator):
    """Dagster's queue, which knows the lock of each run."""

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Puts a run into the queue, with its lock as a tag; ends one that cannot begin."""
        run = context.dagster_run
        if run.status is not dg.DagsterRunStatus.NOT_STARTED or not needs_lock(run.tags):
            return super().submit_run(context)
        try:
            locks = locks_needed(run)
        except (NotConnected, UnknownTenant) as refusal:
            self._instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})
            self._instance.report_run_failed(run, str(refusal))
            return self._instance.get_run_by_id(run.run_id) or run
        except PipelineError:  # such as a database that is down: the run itself says so
            return super().submit_run(context)
        first, *others = [
            {LOCK_TAG: lock, **({SYSTEM_TAG: scope.system} if len(locks) > 1 else {})}
            for lock, scope in locks.items()
        ]
        self._instance.add_run_tags(run.run_id, first)
        for tags in others:
            copy = run._replace(run_id=new_run_id(), tags={**run.tags, **tags})
            self._instance.add_run(copy)
            super().submit_run(dg.SubmitRunContext(copy, context.workspace))
        return super().submit_run(context)


def needs_lock(tags: Mapping[str, str]) -> bool:
    """Returns True for a run of a tenant that does not name its lock."""
    return PARTITION_TAG in tags and LOCK_TAG not in tags


def locks_needed(run: dg.DagsterRun) -> dict[str, Scope]:
    """Returns the locks that a run takes, each with a system that it is taken for.

    Of a run for some assets only, those of the systems whose raw assets are among them.

    Raises:
        NotConnected: the tenant has connected no system.
        PipelineError: the tenants cannot be read.
        UnknownTenant: it is not registered.
    """
    scopes = scopes_of(warehouse_of(load_settings()), run.tags)
    wanted = {key.path[0] for key in run.asset_selection or () if key in RAW_KEYS}
    selected = [scope for scope in scopes if scope.system in wanted] or scopes
    return {lock_of_run(scope, sync_type_of(run.tags)): scope for scope in selected}
