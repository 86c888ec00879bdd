"""Every run has its row, however it ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import ApiCall
from pipedrive_pipeline.errors import BudgetSpent, NotConnected, SourceUnavailable
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.marts import MartsBuilt, RowCounts
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.usage import UsageRecorder
from pipedrive_pipeline.sync.runs.history import HistoryRow, entity_by_mart, settle_dead
from pipedrive_pipeline.sync.runs.lock import walk_lock
from pipedrive_pipeline.sync.runs.progress import ProgressWriter
from pipedrive_pipeline_tests.sync.conftest import ACME, BETA, SYSTEM, ControlTables

ENTITIES = registry.system(SYSTEM).by_name
BROKEN = SourceUnavailable("acme: Pipedrive does not answer.")


def read(name: str, *, is_complete: bool, fetched: int = 0, rejected: int = 0) -> EntityRead:
    return EntityRead(
        ENTITIES[name],
        {"watermark": "2026-01-01T00:00:00Z"},
        {"watermark": "2026-01-02T00:00:00Z"},
        is_complete=is_complete,
        fetched=fetched,
        rejected=rejected,
    )


def note(row: HistoryRow, *reads: EntityRead) -> None:
    row.reads.update({read.entity.name: read for read in reads})


def only_row(control: ControlTables) -> dict[str, Any]:
    (row,) = control.rows("select * from integration.sync_logs")
    return row


def test_a_run_without_errors_is_a_success_with_its_counts(control: ControlTables) -> None:
    row = control.begin(run_id="abc")
    note(row, read("organizations", is_complete=True, fetched=7, rejected=1))
    row.built = MartsBuilt(
        {"customers": RowCounts(created=3, unchanged=4), "contacts": RowCounts()}, is_whole=True
    )
    row.api_calls, row.tokens_spent = 5, 60

    assert row.complete() == "success"

    stored = only_row(control)
    assert (stored["status"], stored["dagster_run_id"], stored["errors"]) == ("success", "abc", [])
    assert (stored["organizations_fetched"], stored["organizations_rejected"]) == (7, 1)
    assert (stored["organizations_created"], stored["organizations_unchanged"]) == (3, 4)
    assert (stored["api_calls"], stored["tokens_spent"]) == (5, 60)
    assert stored["watermarks"]["organizations"] == {
        "before": "2026-01-01T00:00:00Z",
        "after": "2026-01-02T00:00:00Z",
    }
    assert stored["completed_at"] >= stored["started_at"]


@pytest.mark.parametrize(
    ("organizations", "persons", "fields", "status"),
    [
        (True, False, True, "partial"),
        (False, True, True, "partial"),
        (True, True, False, "partial"),
        (False, False, True, "failed"),
        (True, True, True, "failed"),  # all read; what followed broke
    ],
)
def test_a_run_with_an_error_is_partial_where_one_entity_is_whole_and_another_not(
    *, organizations: bool, persons: bool, fields: bool, status: str, control: ControlTables
) -> None:
    row = control.begin()
    note(
        row,
        read("organizations", is_complete=organizations),
        read("persons", is_complete=persons),
        read("person_fields", is_complete=fields),
    )
    row.errors.append(BROKEN)

    assert row.complete() == status


def test_an_entity_that_is_not_whole_has_no_new_watermark(control: ControlTables) -> None:
    row = control.begin()
    note(row, read("persons", is_complete=False))
    row.errors.append(BROKEN)

    row.complete()

    assert only_row(control)["watermarks"]["persons"]["after"] is None


def test_a_spent_budget_pauses_until_it_returns(control: ControlTables) -> None:
    at = datetime(2026, 2, 1, tzinfo=UTC)
    row = control.begin()
    row.errors += [BROKEN, BudgetSpent("acme", SYSTEM, at)]

    assert row.complete() == "paused"

    assert only_row(control)["resume_at"] == at


def test_the_connection_says_how_its_last_run_ended(control: ControlTables) -> None:
    row = control.begin()
    row.errors.append(NotConnected("acme", SYSTEM))

    row.complete()

    states = control.rows(
        "select tenant_id, last_sync_status, last_sync_error from integration.connections"
        " order by tenant_id"
    )
    assert [state["last_sync_status"] for state in states] == ["failed", None]
    assert "not_connected" in states[0]["last_sync_error"]


def test_an_error_that_is_not_ours_is_named_by_its_kind_only(control: ControlTables) -> None:
    """Its words may hold a person's data."""
    row = control.begin()
    row.errors.append(ValueError("Erika Mustermann"))

    row.complete()

    assert only_row(control)["errors"] == [
        {"code": "unexpected", "message": "ValueError; the run's log has more."}
    ]


def test_a_dead_run_is_settled_as_failed_and_its_requests_with_it(control: ControlTables) -> None:
    row = control.begin(run_id="dead")
    control.ask()
    control.run("update integration.sync_requests set state = 'running', run_id = %s", [row.id])

    with walk_lock(control.warehouse, Scope(ACME, SYSTEM)) as lock:
        assert settle_dead(lock) == ["dead"]

    stored = only_row(control)
    assert (stored["status"], stored["errors"][0]["code"]) == ("failed", "killed")
    assert control.rows("select state from integration.sync_requests") == [{"state": "failed"}]


def test_a_dead_run_keeps_what_it_had_read(control: ControlTables) -> None:
    """Its calls are in its row since they were booked; the history showed 0 rows of it."""
    row = control.begin()
    book = UsageRecorder(control.warehouse, Scope(ACME, SYSTEM), lambda: datetime.now(UTC))
    book.run_id = row.id
    book.on_call(ApiCall("list organizations", 10, 200))
    book.write()
    book.on_call(ApiCall("list persons", 10, 200))
    book.write()
    progress = ProgressWriter(
        control.warehouse, Scope(ACME, SYSTEM), row.id, tokens_spent=lambda: 20
    )
    refused = read("person_fields", is_complete=False)
    refused.error = BROKEN
    for each in (
        read("organizations", is_complete=True, fetched=7),
        read("persons", is_complete=False, fetched=5),
        refused,
    ):
        progress.on_page(each)
    progress.on_building()

    with walk_lock(control.warehouse, Scope(ACME, SYSTEM)) as lock:
        settle_dead(lock)
        figures = control.rows("select status, tokens_spent, api_calls from integration.runs")
        entities = control.rows(
            "select entity, status, code, fetched, watermark_after from integration.run_entities"
            " order by fetched desc"
        )

    assert figures == [{"status": "failed", "tokens_spent": 20, "api_calls": 2}]
    assert [tuple(entity.values()) for entity in entities] == [
        ("organizations", "complete", None, 7, None),
        ("persons", "partial", "killed", 5, None),
        ("person_fields", "failed", "source_unavailable", 0, None),
    ]


def test_a_run_that_was_taken_for_dead_may_end_all_the_same(control: ControlTables) -> None:
    """It was asleep, and finds the rows that were made of its progress."""
    row = control.begin()
    progress = ProgressWriter(
        control.warehouse, Scope(ACME, SYSTEM), row.id, tokens_spent=lambda: 0
    )
    persons = read("persons", is_complete=False, fetched=5)
    progress.on_page(persons)
    progress.on_building()
    with walk_lock(control.warehouse, Scope(ACME, SYSTEM)) as lock:
        settle_dead(lock)
    persons.fetched = 6
    row.reads["persons"] = persons
    row.errors.append(BROKEN)

    assert row.complete() == "failed"
    (entity,) = control.rows("select entity, fetched from integration.run_entities")
    assert tuple(entity.values()) == ("persons", 6)


def test_runs_of_other_tenants_and_ended_ones_are_left_alone(control: ControlTables) -> None:
    control.begin(BETA)
    done = control.begin(ACME)
    done.complete()

    with walk_lock(control.warehouse, Scope(ACME, SYSTEM)) as lock:
        assert settle_dead(lock) == []

    statuses = control.rows("select tenant_id, status from integration.sync_logs order by 1")
    assert [row["status"] for row in statuses] == ["success", "running"]


def test_a_mart_of_parts_does_not_count_the_records_of_an_entity() -> None:
    """The status of deals showed the rows of whichever mart came first by name."""
    entities = entity_by_mart(SYSTEM)

    assert entities["customers"] == "organizations"
    assert {"deal_stage_history", "product_prices"}.isdisjoint(entities)
