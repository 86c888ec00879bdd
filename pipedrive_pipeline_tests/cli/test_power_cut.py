"""Everything is killed in the middle of a run; the next start makes it good without a hand."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from pipedrive_pipeline.warehouse.embedded import running_server
from pipedrive_pipeline_tests.cli.running_up import SYNC_SECONDS, RunningUp, free_ports, running_up
from pipedrive_pipeline_tests.waiting import wait_until

GREEN_AGAIN = """
select
from integration.sync_logs as dead
inner join integration.sync_logs as next_one on next_one.started_at > dead.started_at
where dead.status = 'failed' and next_one.status = 'success'
"""
HISTORY = """
select status, errors -> 0 ->> 'code' as code, sync_type, trigger, started_at
from integration.sync_logs
order by started_at
"""
ALL_ENDED = """
select where not exists (
    select from dagster.runs where status not in ('SUCCESS', 'FAILURE')
)
"""
RUN_STATES = "select status from dagster.runs order by create_timestamp"
GREEN_SECONDS = 90  # from the start of `up`
PATIENCE_SECONDS = 400


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pp-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # root's server runs as an account that must reach it
        yield Path(folder)


def begin_a_slow_run(up: RunningUp) -> None:
    """A full sync that hangs in its first page of persons."""
    slow = {"kind": "slow", "seconds": 300, "times": 9, "path": "/api/v2/persons"}
    httpx.post(f"{up.urls['sandbox']}/_sandbox/faults", json=slow).raise_for_status()
    server = running_server(up.home)
    assert server is not None
    with psycopg.connect(server.url) as connection:
        connection.execute(
            "insert into integration.sync_requests (tenant_id, system, sync_type, trigger)"
            " values ('sandbox', 'pipedrive', 'full', 'manual')"
        )
    wait_until(lambda: is_hanging(up), SYNC_SECONDS)


def is_hanging(up: RunningUp) -> bool:
    """Whether the slow call has been made: the sandbox notes it before it answers."""
    journal = httpx.get(f"{up.urls['sandbox']}/_sandbox/requests").text
    return any(json.loads(line)["fault"] == "slow" for line in journal.splitlines())


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_power_cut_in_the_middle_of_a_run_blocks_no_tenant(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dagster believes the run alive for ever; its tenant's queue would stand still."""
    ports = free_ports()
    with running_up(home, ports) as up:
        up.synced(1)
        begin_a_slow_run(up)
        up.kill()

    began = time.monotonic()
    with running_up(home, ports) as up:
        ready_seconds = time.monotonic() - began
        up.wait(GREEN_AGAIN, PATIENCE_SECONDS)
        green_seconds = time.monotonic() - began
        up.wait(ALL_ENDED)
        history = up.rows(HISTORY)
        runs = [row["status"] for row in up.rows(RUN_STATES)]

    with capsys.disabled():
        print(f"\nready after {ready_seconds:.0f} s, green after {green_seconds:.0f} s")  # noqa: T201
    first, dead, *later = [(row["status"], row["code"]) for row in history]
    assert (first, dead) == (("success", None), ("failed", "killed")), history
    assert set(later) == {("success", None)}, history
    assert runs.count("FAILURE") == 1
    assert green_seconds < GREEN_SECONDS
