"""What a data engineer sees in Dagster's UI, clicked through in a real browser.

Screenshots lie in the folder that `SCREENSHOTS` names, if it is set.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipedrive_pipeline.defs.location import LOCATION
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline_tests.cli.running_up import RunningUp, running_up
from pipedrive_pipeline_tests.pictures import CHROMIUM, chromium
from pipedrive_pipeline_tests.scenarios.receiver import receiver
from pipedrive_pipeline_tests.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

REPOSITORY = LOCATION.get_repository_def()
AUTOMATIONS = {each.name for each in REPOSITORY.sensor_defs} | {
    each.name for each in REPOSITORY.schedule_defs
}
TENANTS = ("beta", "gamma", "sandbox")
SYNC_SECONDS = 400  # of three tenants, on a machine that has other work
FULL_BY_BACKFILL = """
select tenant_id, status, errors -> 0 ->> 'code' as code, dagster_run_id
from integration.sync_logs
where trigger = 'backfill' and sync_type = 'full' and status <> 'running'
order by tenant_id
"""
LOCKS_OF_BACKFILLS = """
select distinct tags.value as lock
from dagster.run_tags as tags
where tags.key = 'pipeline/lock'
    and tags.run_id in (select run_id from dagster.run_tags where key = 'dagster/backfill')
order by 1
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1_200),
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on this machine; `apt-get install chromium`"
    ),
]


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pp-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # root's server runs as an account that must reach it
        yield Path(folder)


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as page:
        yield page


def shot(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def connect(up: RunningUp, tenant: str, sandbox: Sandbox) -> None:
    """Another tenant, as an operator connects it."""
    assert up.terminal.run("tenants", "add", tenant).code == 0
    words = ("--api-token", sandbox.api_token, "--api-url", sandbox.url)
    result = up.terminal.run("connect", "--tenant", tenant, "--system", "pipedrive", *words)
    assert result.code == 0, result.err


def backfill_all(page: Page, dagster: str) -> None:
    """`full_resync` over every tenant, from the job's own page."""
    page.goto(f"{dagster}/locations/pipedrive_pipeline/jobs/full_resync")
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="All", exact=True).click()
    dialog.get_by_text("3 partitions").wait_for()
    shot(page, "backfill")
    dialog.get_by_role("button", name="Launch backfill").click()
    dialog.wait_for(state="detached")


def backfilled(up: RunningUp, count: int) -> list[dict[str, Any]]:
    """The history of so many ended runs of backfills."""
    up.wait(f"select from ({FULL_BY_BACKFILL}) as ended having count(*) >= {count}", SYNC_SECONDS)
    return up.rows(FULL_BY_BACKFILL)


def test_a_night_as_a_data_engineer_sees_it(home: Path, page: Page) -> None:
    with ExitStack() as stack:
        address, arrived = stack.enter_context(receiver())
        beta, gamma = (stack.enter_context(serve(seeded(12, 35))) for _ in range(2))
        settings = {"ALERT_URLS": address, "PIPEDRIVE_ALLOWED_HOSTS": "127.0.0.1"}
        up = stack.enter_context(running_up(home, None, "--sandbox", **settings))
        connect(up, "beta", beta)
        connect(up, "gamma", gamma)
        up.synced(len(TENANTS), SYNC_SECONDS)
        dagster = up.urls["dagster"]

        everything_is_there_and_running(page, dagster)
        backfill_all(page, dagster)
        first = backfilled(up, 3)
        gamma.revoke()
        backfill_all(page, dagster)
        second = backfilled(up, 6)
        (failed,) = [row for row in second if row["status"] == "failed"]
        the_run_says_why(page, dagster, failed["dagster_run_id"])
        runs_of_gamma = up.rows(
            "select runs.status from dagster.runs as runs"
            " inner join dagster.run_tags as tags using (run_id)"
            " where tags.key = 'dagster/partition' and tags.value = 'gamma'"
        )
        locks = up.rows(LOCKS_OF_BACKFILLS)

    assert [row["lock"] for row in locks] == [f"raw/{tenant}/pipedrive" for tenant in TENANTS]
    assert [(row["tenant_id"], row["status"]) for row in first] == [
        (tenant, "success") for tenant in sorted(TENANTS)
    ]
    assert (failed["tenant_id"], failed["code"]) == ("gamma", "needs_reauth")
    assert [row["status"] for row in second].count("success") == 5
    assert len(runs_of_gamma) == 3  # the first sync, and one of each backfill
    assert [alert["title"] for alert in arrived] == ["gamma: needs_reauth, a person must act"]
    assert f"/runs/{failed['dagster_run_id']}" in arrived[0]["message"]


def everything_is_there_and_running(page: Page, dagster: str) -> None:
    page.goto(f"{dagster}/automation")
    for name in AUTOMATIONS:
        page.get_by_text(name, exact=True).wait_for()
    on = page.locator("input[type=checkbox]:checked")
    wait_until(lambda: on.count() == len(AUTOMATIONS), SYNC_SECONDS)
    shot(page, "automation")


def the_run_says_why(page: Page, dagster: str, run_id: str) -> None:
    page.goto(f"{dagster}/runs/{run_id}")
    page.get_by_text(re.compile("no longer accepts this connection")).first.wait_for()
    shot(page, "revoked")
    page.goto(f"{dagster}/runs")
    page.get_by_text("Failure").first.wait_for()
    shot(page, "runs")
