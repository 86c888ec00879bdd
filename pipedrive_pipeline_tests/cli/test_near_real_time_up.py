"""Edits in the sandbox of a running `up` are in `crm` seconds later, by its webhook alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
import pytest

from pipedrive_pipeline_tests.cli.running_up import RunningUp, running_up
from pipedrive_pipeline_tests.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
EDITS = 30
P95_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
LIVE = "select id from integration.webhooks where state = 'live'"


@pytest.fixture(scope="module")
def up() -> Iterator[RunningUp]:
    """An installation whose tenant is synced and has a webhook."""
    with tempfile.TemporaryDirectory(prefix="pp-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)  # root's server runs as an account that must reach it
        with running_up(home) as running:
            running.synced(1)
            running.wait(LIVE)
            yield running


def command(up: RunningUp, route: str, **message: Any) -> Any:
    """The result of a control route of the sandbox."""
    answer = httpx.post(f"{up.urls['sandbox']}/_sandbox/{route}", json=message)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def names(up: RunningUp, remote_id: int) -> list[str]:
    """The name of a person in `crm`, unless it is marked as deleted."""
    query = f"select name from crm.contacts where deleted_at is null and remote_id = '{remote_id}'"
    return [row["name"] for row in up.rows(query)]


def seconds_to_crm(up: RunningUp, person_id: int, name: str) -> float:
    """How long a person's new name needs from the source to `crm`."""
    command(up, "edit", action="edit", entity="persons", ids=[person_id], values={"name": name})
    is_there = partial(_has_name, up, person_id, name)
    return wait_until(is_there, PATIENCE_SECONDS, every_seconds=0.05)


def _has_name(up: RunningUp, person_id: int, name: str) -> bool:
    return names(up, person_id) == [name]


def test_an_edit_is_in_crm_within_five_seconds(up: RunningUp) -> None:
    """From the click in the source to the row, at the 95th percentile."""
    waits = [seconds_to_crm(up, number + 20, f"Edited {number}") for number in range(EDITS)]

    assert quantiles(waits, n=20)[-1] <= P95_SECONDS


def test_a_merge_and_a_deletion_arrive_with_their_reason(up: RunningUp) -> None:
    command(up, "edit", action="merge", entity="persons", id=60, into=61)
    command(up, "edit", action="delete", entity="persons", ids=[62])
    query = """
        select remote_id, deletion_reason, merged_into_remote_id
        from crm.contacts where remote_id in ('60', '62') and deleted_at is not null order by 1
    """
    wait_until(lambda: len(up.rows(query)) == 2, PATIENCE_SECONDS)

    assert [tuple(row.values()) for row in up.rows(query)] == [
        ("60", "merged", "61"),
        ("62", "deleted", None),
    ]


def test_what_happened_while_delivery_was_paused_arrives_afterwards(up: RunningUp) -> None:
    command(up, "webhooks", action="pause")
    ids = list(range(70, 90))
    command(up, "edit", action="edit", entity="persons", ids=ids, values={"name": "Paused"})
    command(up, "webhooks", action="resume")

    wait_until(lambda: all(names(up, each) == ["Paused"] for each in ids), PATIENCE_SECONDS)
    assert up.rows("select 1 from integration.signals") == []


def test_a_webhook_that_the_source_removed_is_made_again(up: RunningUp) -> None:
    """A person may have removed it in the source; the daily look finds that."""
    former = up.rows(LIVE)
    command(up, "webhooks", action="remove", id=1)
    command(up, "edit", action="edit", entity="persons", ids=[95], values={"name": "Untold"})
    up.rows("update integration.webhooks set next_check_at = now() returning 1")

    wait_until(lambda: names(up, 95) == ["Untold"], 2 * PATIENCE_SECONDS)
    up.wait(LIVE)
    assert up.rows(LIVE) != former
