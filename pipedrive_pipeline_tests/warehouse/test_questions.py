"""Questions side by side: each answered by its own rows, typed and in their order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec import Struct

from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.questions import SideBySide


@dataclass(frozen=True)
class Word:
    """A row of two columns."""

    word: str
    said_at: datetime | None


class Answers(Struct):
    """What is asked together."""

    words: list[Word]
    tenants: list[Word]


WORDS = """
    select
        said.word,
        said.at as said_at
    from (values
        (%(second)s, '2026-11-01T12:00:00+01:00'::timestamptz),
        (%(first)s, null)
    ) as said (word, at)
    order by said.word desc
"""
TENANTS = """
    select
        tenants.slug as word,
        null as said_at
    from integration.tenants
    where tenants.slug <> %(second)s
    order by tenants.slug
"""


def test_each_question_has_its_own_rows_in_their_order(warehouse: Warehouse) -> None:
    """A parameter may stand in several, and a quotation mark is no more than a character."""
    questions = SideBySide(Answers, words=WORDS, tenants=TENANTS)

    with warehouse.connect() as connection:
        found = questions.ask(connection, first="it's", second="o%(first)s")

    assert found.words == [
        Word("o%(first)s", datetime(2026, 11, 1, 11, tzinfo=UTC)),
        Word("it's", None),
    ]
    assert [one.word for one in found.tenants] == ["acme", "bravo"]


def test_questions_side_by_side_see_what_their_transaction_may(warehouse: Warehouse) -> None:
    """As the app, without a word of the tenant in the select: its rows only, or none."""
    questions = SideBySide(Answers, words=WORDS, tenants=TENANTS)

    with warehouse.as_app(Tenant("acme")) as connection:
        found = questions.ask(connection, first="a", second="b")

    assert [one.word for one in found.tenants] == ["acme"]
