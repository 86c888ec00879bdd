"""The notes of a run about its data."""

from __future__ import annotations

from datetime import UTC, datetime

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import ApiCall
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.usage import UsageRecorder
from pipedrive_pipeline_tests.sync.conftest import ACME, SYSTEM, ControlTables

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
PERSONS = registry.system(SYSTEM).entity("persons")


def test_calls_are_booked_by_kind_and_company_and_add_up_over_runs(control: ControlTables) -> None:
    for _ in range(2):
        book = UsageRecorder(control.warehouse, Scope(ACME, SYSTEM), lambda: NOON)
        book.company_id = "77"
        for kind in ("list persons", "list persons", "users/me"):
            book.on_call(ApiCall(kind, 10, 200))
        book.write()

    rows = control.rows(
        "select company_id, call_kind, calls, tokens from integration.api_usage order by call_kind"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("77", "list persons", 4, 40),
        ("77", "users/me", 2, 20),
    ]


def test_a_book_written_twice_books_nothing_twice_and_knows_its_run(control: ControlTables) -> None:
    book = UsageRecorder(control.warehouse, Scope(ACME, SYSTEM), lambda: NOON)
    book.on_call(ApiCall("list persons", 10, 200))
    book.write()
    book.write()
    book.on_call(ApiCall("list persons", 10, None))
    book.write()

    (row,) = control.rows("select calls, tokens from integration.api_usage")
    assert (row["calls"], row["tokens"]) == (2, 20)
    assert (book.api_calls, book.tokens_spent) == (2, 20)
