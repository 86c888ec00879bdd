"""A file of a system's folder that is not as a mart needs it is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import UsageError
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline_tests.connectors.ledger import BOOKS, LEDGER

SELECT = """\
-- crm.customers from Ledger.
-- Entity: books
select
    books.no as remote_id,
    books.title as name
from books
"""
Files = Callable[..., Path]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Files:
    """Registers a system whose folder has these files, by mart."""

    def written(*, has_fields: bool = False, **texts: str) -> Path:
        for mart, text in texts.items():
            (tmp_path / f"{mart}.sql").write_text(text)
        definitions = replace(BOOKS, name="fields") if has_fields else None
        books = replace(BOOKS, defined_by="fields", custom_values="title") if has_fields else BOOKS
        entities = (definitions, books) if definitions else (books,)
        system = replace(LEDGER, entities=entities, marts_folder=tmp_path)
        monkeypatch.setitem(registry._registered, LEDGER.key, system)
        return tmp_path

    return written


def test_a_select_is_the_source_of_its_mart(files: Files) -> None:
    files(customers=SELECT)

    (source,) = mart_sources(LEDGER.key)

    assert (source.name, source.entity, source.outputs) == (
        "customers",
        "books",
        ("remote_id", "name"),
    )


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("-- Entity: books\n", "", "needs a line `-- Entity: <raw table>`"),
        ("Entity: books", "Entity: book", "Ledger has no entity book; there are books"),
        ("as remote_id", "as key", "gives no column remote_id; .* it gives key, name"),
        ("as name", "as nam", "has no column nam for customers; a select may give .*, name, "),
        (
            "-- Entity",
            "-- Options of label: labels\n-- Entity",
            "header names label, which it does not",
        ),
        (
            "-- Entity",
            "-- Also reads: shelves (name)\n-- Entity",
            "names shelves, which is no entity",
        ),
        (
            "-- Entity",
            "-- Also changed by: books (shelf)\n-- Entity",
            "names shelf, which books does not declare",
        ),
    ],
)
def test_a_select_with_a_mistake_is_refused_by_what_is_wrong(
    files: Files, before: str, after: str, problem: str
) -> None:
    """A command said "unexpected ValueError"; a wrong name in a header was not noticed at all."""
    folder = files(customers=SELECT.replace(before, after, 1))

    with pytest.raises(UsageError, match=problem) as refusal:
        mart_sources(LEDGER.key)

    assert str(folder / "customers.sql") in str(refusal.value)


def test_a_file_that_is_no_mart_is_refused(files: Files) -> None:
    """It was left out without a word: the tables stayed empty and each run was green."""
    files(customers=SELECT, customer=SELECT)

    with pytest.raises(UsageError, match=r"customer\.sql: no mart is called customer\. Declare it"):
        mart_sources(LEDGER.key)


def test_custom_fields_need_their_definitions(files: Files) -> None:
    folder = files(customers=SELECT, has_fields=True)

    with pytest.raises(UsageError, match=r"fields\.sql is missing"):
        mart_sources(LEDGER.key)

    (folder / "fields.sql").write_text("select\n    1 as entity\nfrom fields\n")
    assert mart_sources(LEDGER.key)[0].defined_by == "fields"
