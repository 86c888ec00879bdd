"""A request, from the question to the run that answers it."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.sync.runs import requests
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline_tests.sync.conftest import ACME, BETA, SYSTEM, ControlTables


def states(control: ControlTables) -> dict[str, str]:
    rows = control.rows(
        "select tenant_id || ' ' || sync_type as name, state from integration.sync_requests"
    )
    return {row["name"]: row["state"] for row in rows}


def claim(control: ControlTables, sync_type: SyncType) -> None:
    row = control.begin(ACME, sync_type, "run-1")
    requests.claim(control.warehouse, row.facts, row.id)


def test_queued_requests_of_connected_tenants_come_oldest_first(control: ControlTables) -> None:
    control.ask(BETA)
    control.ask(ACME, "full")

    queued = requests.queued(control.warehouse, limit=10)

    assert [(request.scope.tenant, request.sync_type) for request in queued] == [
        (BETA, "incremental"),
        (ACME, "full"),
    ]


@pytest.mark.parametrize("state", ["needs_reauth", "disconnected", "pending"])
def test_a_tenant_that_is_not_connected_is_not_synced(state: str, control: ControlTables) -> None:
    """Its run could only fail each time."""
    control.ask(ACME)
    control.run("update integration.connections set state = %s, access_token = null", [state])

    assert requests.queued(control.warehouse, limit=10) == []


def test_a_remap_needs_no_connection(control: ControlTables) -> None:
    """It reads nothing at the source: a tenant that disconnected may still change its mapping."""
    control.ask(ACME)
    control.ask(ACME, "remap")
    control.run("update integration.connections set state = 'needs_reauth'")

    assert [request.sync_type for request in requests.queued(control.warehouse, limit=10)] == [
        "remap"
    ]


def test_no_more_requests_are_returned_than_the_limit(control: ControlTables) -> None:
    control.ask(ACME)
    control.ask(BETA)

    assert len(requests.queued(control.warehouse, limit=1)) == 1


def test_a_full_run_answers_every_request_of_its_tenant(control: ControlTables) -> None:
    control.ask(ACME)
    control.ask(ACME, "full")
    control.ask(BETA)

    claim(control, "full")

    assert states(control) == {
        "acme incremental": "running",
        "acme full": "running",
        "beta incremental": "queued",
    }


def test_an_incremental_run_leaves_a_full_one_in_the_queue(control: ControlTables) -> None:
    control.ask(ACME)
    control.ask(ACME, "full")

    claim(control, "incremental")

    assert states(control) == {"acme incremental": "running", "acme full": "queued"}


@pytest.mark.parametrize(("is_success", "state"), [(True, "done"), (False, "failed")])
def test_a_claimed_request_ends_as_its_run_does(
    *, is_success: bool, state: str, control: ControlTables
) -> None:
    control.ask(ACME)
    row = control.begin()
    requests.claim(control.warehouse, row.facts, row.id)

    requests.settle(control.warehouse, row.facts, row.id, is_success=is_success)

    assert states(control) == {"acme incremental": state}


def test_a_request_made_during_a_run_waits_for_the_next(control: ControlTables) -> None:
    control.ask(ACME)
    row = control.begin()
    requests.claim(control.warehouse, row.facts, row.id)
    control.ask(ACME)

    requests.settle(control.warehouse, row.facts, row.id, is_success=True)

    rows = control.rows("select state from integration.sync_requests order by requested_at")
    assert [row["state"] for row in rows] == ["done", "queued"]
    assert requests.queued(control.warehouse, limit=9)[0].scope.system == SYSTEM
