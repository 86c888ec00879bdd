"""A request, from the question to the run that answers it."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.errors import Cancelled
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs import requests
from pipedrive_pipeline.sync.runs.cancellation import cancel, require_not_cancelled
from pipedrive_pipeline.sync.runs.history import Status, SyncType
from pipedrive_pipeline.sync.runs.listing import list_runs
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


@pytest.mark.parametrize(
    ("status", "state"),
    [("success", "done"), ("paused", "done"), ("failed", "failed"), ("cancelled", "cancelled")],
)
def test_a_claimed_request_ends_as_its_run_does(
    status: Status, state: str, control: ControlTables
) -> None:
    control.ask(ACME)
    row = control.begin()
    requests.claim(control.warehouse, row.facts, row.id)

    requests.settle(control.warehouse, row.facts, row.id, status)

    assert states(control) == {"acme incremental": state}


def test_a_request_made_during_a_run_waits_for_the_next(control: ControlTables) -> None:
    control.ask(ACME)
    row = control.begin()
    requests.claim(control.warehouse, row.facts, row.id)
    control.ask(ACME)

    requests.settle(control.warehouse, row.facts, row.id, "success")

    rows = control.rows("select state from integration.sync_requests order by requested_at")
    assert [row["state"] for row in rows] == ["done", "queued"]
    assert requests.queued(control.warehouse, limit=9)[0].scope.system == SYSTEM


def test_a_cancelled_request_is_not_started_and_stays_in_the_history(
    control: ControlTables,
) -> None:
    """Its Dagster run may wait in the queue already; it ends before it begins."""
    control.ask(ACME, "full")
    request_id = requests.queued(control.warehouse, limit=1)[0].id
    with control.warehouse.as_app(ACME) as connection:
        scope = Scope(ACME, SYSTEM)
        assert cancel(connection, scope, request_id, who="key our app")
        assert not cancel(connection, scope, request_id, who="key our app")
        (shown,) = list_runs(connection, ACME, SYSTEM, limit=9)

    assert requests.queued(control.warehouse, limit=9) == []
    assert (shown.id, shown.status) == (request_id, "cancelled")
    with pytest.raises(Cancelled):
        require_not_cancelled(control.warehouse, ACME, str(request_id))
