"""What a run notes beside its data."""

from __future__ import annotations

from datetime import UTC, datetime

from pipedrive_pipeline.connectors.base import Call
from pipedrive_pipeline.connectors.registry import connector
from pipedrive_pipeline.ingest.outcome import Rejected
from pipedrive_pipeline.sync.records import REJECTED_VALUES_PER_LOAD, UsageBook, write_rejected
from pipedrive_pipeline_tests.sync.conftest import ACME, BETA, SYSTEM, Books

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
PERSONS = connector(SYSTEM).entities["persons"]


def test_calls_are_booked_by_kind_and_company_and_add_up_over_runs(books: Books) -> None:
    for _ in range(2):
        book = UsageBook(books.warehouse, ACME, SYSTEM, lambda: NOON)
        for kind in ("list persons", "list persons", "users/me"):
            book.on_call(Call(kind, 10, 200))
        book.write()

    rows = books.rows(
        "select company_id, call_kind, calls, tokens from integration.api_usage order by call_kind"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("77", "list persons", 4, 40),
        ("77", "users/me", 2, 20),
    ]


def test_a_book_written_twice_books_nothing_twice_and_knows_its_run(books: Books) -> None:
    book = UsageBook(books.warehouse, ACME, SYSTEM, lambda: NOON)
    book.on_call(Call("list persons", 10, 200))
    book.write()
    book.write()
    book.on_call(Call("list persons", 10, None))
    book.write()

    (row,) = books.rows("select calls, tokens from integration.api_usage")
    assert (row["calls"], row["tokens"]) == (2, 20)
    assert (book.api_calls, book.tokens_spent) == (2, 20)


def test_a_rejected_value_is_kept_once_with_its_last_reason(books: Books) -> None:
    for reason in ("too big", "too odd"):
        write_rejected(
            books.warehouse, ACME, SYSTEM, PERSONS, [Rejected("7", "org_id", '"x"', reason)]
        )

    (row,) = books.rows("select * from integration.rejected_values")
    assert (row["record_id"], row["field"], row["reason"]) == ("7", "org_id", "too odd")
    assert row["last_seen_at"] >= row["first_seen_at"]


def test_the_same_value_of_another_tenant_is_another_row(books: Books) -> None:
    for tenant in (ACME, BETA):
        write_rejected(
            books.warehouse, tenant, SYSTEM, PERSONS, [Rejected("7", "org_id", "1", "odd")]
        )

    assert len(books.rows("select * from integration.rejected_values")) == 2


def test_a_field_that_was_retyped_does_not_fill_the_table(books: Books) -> None:
    values = [Rejected(str(number), "org_id", "1", "odd") for number in range(1_500)]

    write_rejected(books.warehouse, ACME, SYSTEM, PERSONS, values)

    rows = books.rows("select * from integration.rejected_values")
    assert len(rows) == REJECTED_VALUES_PER_LOAD
