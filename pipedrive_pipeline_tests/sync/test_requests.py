"""A request, from the question to the run that answers it."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.sync import requests
from pipedrive_pipeline.sync.history import SyncType
from pipedrive_pipeline_tests.sync.conftest import ACME, BETA, SYSTEM, Books


def states(books: Books) -> dict[str, str]:
    rows = books.rows(
        "select tenant_id || ' ' || sync_type as name, state from integration.sync_requests"
    )
    return {row["name"]: row["state"] for row in rows}


def claim(books: Books, sync_type: SyncType) -> None:
    row = books.begin(ACME, sync_type, "run-1")
    requests.claim(books.warehouse, row.facts, row.id)


def test_queued_requests_of_connected_tenants_come_oldest_first(books: Books) -> None:
    books.ask(BETA)
    books.ask(ACME, "full")

    queued = requests.queued(books.warehouse, limit=10)

    assert [(request.tenant, request.sync_type) for request in queued] == [
        (BETA, "incremental"),
        (ACME, "full"),
    ]


@pytest.mark.parametrize("state", ["needs_reauth", "disconnected", "pending"])
def test_a_tenant_that_is_not_connected_is_not_synced(state: str, books: Books) -> None:
    """Its run could only fail, every time that it is asked."""
    books.ask(ACME)
    books.run("update integration.connections set state = %s, access_token = null", [state])

    assert requests.queued(books.warehouse, limit=10) == []


def test_a_remap_needs_no_connection(books: Books) -> None:
    """It reads nothing at the source: a tenant that disconnected may still change its mapping."""
    books.ask(ACME)
    books.ask(ACME, "remap")
    books.run("update integration.connections set state = 'needs_reauth'")

    assert [request.sync_type for request in requests.queued(books.warehouse, limit=10)] == [
        "remap"
    ]


def test_no_more_are_given_than_asked_for(books: Books) -> None:
    books.ask(ACME)
    books.ask(BETA)

    assert len(requests.queued(books.warehouse, limit=1)) == 1


def test_a_full_run_answers_every_request_of_its_tenant(books: Books) -> None:
    books.ask(ACME)
    books.ask(ACME, "full")
    books.ask(BETA)

    claim(books, "full")

    assert states(books) == {
        "acme incremental": "running",
        "acme full": "running",
        "beta incremental": "queued",
    }


def test_an_incremental_run_leaves_a_full_one_in_the_queue(books: Books) -> None:
    books.ask(ACME)
    books.ask(ACME, "full")

    claim(books, "incremental")

    assert states(books) == {"acme incremental": "running", "acme full": "queued"}


@pytest.mark.parametrize(("is_success", "state"), [(True, "done"), (False, "failed")])
def test_a_claimed_request_ends_as_its_run_does(
    *, is_success: bool, state: str, books: Books
) -> None:
    books.ask(ACME)
    row = books.begin()
    requests.claim(books.warehouse, row.facts, row.id)

    requests.settle(books.warehouse, row.facts, row.id, is_success=is_success)

    assert states(books) == {"acme incremental": state}


def test_a_request_made_during_a_run_waits_for_the_next(books: Books) -> None:
    books.ask(ACME)
    row = books.begin()
    requests.claim(books.warehouse, row.facts, row.id)
    books.ask(ACME)

    requests.settle(books.warehouse, row.facts, row.id, is_success=True)

    rows = books.rows("select state from integration.sync_requests order by requested_at")
    assert [row["state"] for row in rows] == ["done", "queued"]
    assert requests.queued(books.warehouse, limit=9)[0].system == SYSTEM
