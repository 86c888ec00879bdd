"""What a test of two systems does in a process of its own, in which Orbit is registered.

Registering it in the test's process would change what the tests after it see.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import httpx

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.consent.oauth_flow import begin, confirm, finish
from pipedrive_pipeline.defs.jobs import request
from pipedrive_pipeline.defs.location import LOCATION
from pipedrive_pipeline.defs.run_queue import locks_needed
from pipedrive_pipeline.defs.runs import LOCK_TAG, SYSTEM_TAG
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse.database import warehouse_of

ACME = Tenant("acme")


def connect(system: str) -> dict[str, Any]:
    """Connects acme by OAuth; the look-alike consents at once."""
    settings = load_settings()
    vault = open_vault(warehouse_of(settings), settings)
    browser = signing.fresh()
    begun = begin(vault, Scope(ACME, system), session=browser, who="a test")
    answer = httpx.get(begun.url, follow_redirects=False, timeout=10)
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    waiting = finish(vault, system, session=browser, state=query["state"][0], code=query["code"][0])
    return {"company": confirm(vault, waiting.id).company_name}


def run(job: str, system: str | None) -> dict[str, Any]:
    """Runs a job for acme: as the UI starts it, or as we request it for one system."""
    tags: dict[str, str] = {}
    selection = None
    if system:
        kind = {"sync": "incremental", "full_resync": "full", "remap": "remap"}[job]
        asked = request(Scope(ACME, system), kind, run_key="", tags={})  # type: ignore[arg-type]
        tags, selection = dict(asked.tags), list(asked.asset_selection or ())
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("tenants", [ACME.slug])
        done = LOCATION.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key=ACME.slug,
            tags=tags,
            asset_selection=selection,
            raise_on_error=False,
        )
        planned = instance.get_run_by_id(done.run_id)
    return {
        "success": done.success,
        "materialized": [
            event.asset_key.to_user_string()
            for event in done.get_asset_materialization_events()
            if event.asset_key
        ],
        "tags": dict(planned.tags) if planned else {},
    }


def queue(job: str) -> dict[str, Any]:
    """Launches a run of acme as the UI does; returns the system and lock of each queued run.

    And the locks that a run for some assets only would need.
    """
    tags = json.dumps({"dagster/partition": ACME.slug})
    words = ("-m", "pipedrive_pipeline.definitions", "--job", job, "--tags", tags)
    dagster = (sys.executable, "-m", "dagster", "job", "launch")
    subprocess.run([*dagster, *words], check=True, stdout=sys.stderr)
    with dg.DagsterInstance.get() as instance:
        queued = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))
    return {
        "queued": {each.tags[SYSTEM_TAG]: each.tags[LOCK_TAG] for each in queued},
        "of_one_system": _locks("orbit/users", "crm/customers"),
        "of_marts": _locks("crm/customers"),
    }


def _locks(*assets: str) -> list[str]:
    selection = frozenset(map(dg.AssetKey.from_user_string, assets))
    tags = {"dagster/partition": ACME.slug}
    return [*locks_needed(dg.DagsterRun("sync", tags=tags, asset_selection=selection))]


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "queue":
        facts = queue(*words)
    else:
        facts = connect(*words) if what == "connect" else run(words[0], words[1] or None)
    sys.stdout.write("\n" + json.dumps(facts) + "\n")
