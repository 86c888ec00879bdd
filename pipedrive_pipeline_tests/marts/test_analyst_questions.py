"""The questions of docs/analysts.md, run as they are printed, by an analyst, with known answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from pipedrive_pipeline.marts import publish_views
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.databases import role_name
from pipedrive_pipeline_tests.marts.mart_rows import MartRows
from pipedrive_pipeline_tests.warehouse import databases
from pipedrive_pipeline_tests.warehouse.databases import ACME

PAGE = (PROJECT_ROOT / "docs" / "analysts.md").read_text(encoding="utf-8")
QUESTIONS = dict(
    re.findall(r"^### ([^\n]+\?)\n.*?```sql\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
)
NOW = datetime.now(UTC)
NEXT_MONTH = (NOW.date().replace(day=1) + timedelta(days=32)).replace(day=1)
WON_AT, LOST_AT = NOW - timedelta(days=40), NOW - timedelta(days=10)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def month_of(time: datetime) -> date:
    """The first day of a month; the tenant's days are those of UTC."""
    return time.date().replace(day=1)


@pytest.fixture(scope="module")
def analyst(postgres: str, template: str) -> Iterator[MartRows]:
    """A session of acme's analyst: four deals in a pipeline of two stages, and their surroundings.

    Kran is in its stage for 20 days, Lift for 5; Ramp was won, Mast was lost. A fifth deal is open
    and archived: no question is about it.
    """
    with databases.database(postgres, template=template) as url:
        warehouse = Warehouse(url)
        publish_views(warehouse, ACME)
        with warehouse.transaction() as connection:
            marts = MartRows(connection)
            fill(marts)
            connection.execute(f"set local role {role_name(connection, 'analyst_acme')}".encode())
            yield marts
            connection.rollback()


def fill(marts: MartRows) -> None:
    ada, ben = (marts.add("users", name=name) for name in ("Ada", "Ben"))
    nord = marts.add("customers", name="Nord", owner_id=ada)
    sued = marts.add("customers", name="Süd", owner_id=ben)
    ids = marts.pipeline("Sales", "New", "Offer")
    marts.connection.execute("update crm.stages set probability = 20 where name = 'New'")
    marts.connection.execute("update crm.stages set rotten_after_days = 10 where name = 'Offer'")
    new, offer = ids["New"], ids["Offer"]
    web = marts.add("leads", name="Converted", source="Web", remote_created_at=ago(110),
                    deleted_at=ago(100), deletion_reason="converted")  # fmt: skip
    marts.add("leads", name="Waiting", source="Web", remote_created_at=ago(20))
    marts.add("leads", name="Cold", remote_created_at=ago(20))
    facts = {"pipeline_id": ids["Sales"], "currency": "EUR"}
    kran = marts.add(
        "deals", name="Kran", status="open", amount=1_000, customer_id=nord, owner_id=ada,
        stage_id=offer, remote_created_at=ago(60), stage_changed_at=ago(20),
        expected_close_date=NEXT_MONTH, **facts,
    )  # fmt: skip
    lift = marts.add(
        "deals", name="Lift", status="open", amount=200, customer_id=sued, owner_id=ben,
        stage_id=new, remote_created_at=ago(5), **facts,
    )  # fmt: skip
    ramp = marts.add(
        "deals", name="Ramp", status="won", amount=500, customer_id=nord, owner_id=ada,
        stage_id=offer, remote_created_at=ago(100), won_at=WON_AT, lead_id=web, **facts,
    )  # fmt: skip
    mast = marts.add(
        "deals", name="Mast", status="lost", amount=300, owner_id=ben, stage_id=new,
        remote_created_at=ago(50), lost_at=LOST_AT, lost_reason="too dear",
        **{**facts, "currency": "USD"},
    )  # fmt: skip
    marts.add(
        "deals", name="Archived", status="open", amount=7_000, customer_id=nord, owner_id=ada,
        stage_id=new, remote_created_at=ago(90), is_archived=True, archived_at=ago(80),
        expected_close_date=NEXT_MONTH, **facts,
    )  # fmt: skip
    marts.visit(kran, new, ago(60), ago(20))
    marts.visit(kran, offer, ago(20), None)
    marts.visit(lift, new, ago(5), None)
    marts.visit(ramp, new, ago(100), ago(95))
    marts.visit(ramp, offer, ago(95), None, ("won", WON_AT))
    marts.visit(mast, new, ago(50), None, ("lost", LOST_AT))
    hook = marts.add("products", name="Hook")
    for deal, quantity in ((ramp, 2), (kran, 1)):
        marts.add(
            "deal_products", deal_id=deal, product_id=hook, name="Hook", quantity=quantity,
            unit_price=50, total=50 * quantity, currency="EUR", is_enabled=True,
        )  # fmt: skip
    marts.add(
        "activities", customer_id=nord, owner_id=ada, kind="call", done=True, starts_at=ago(100)
    )
    marts.add(
        "activities", deal_id=kran, owner_id=ada, kind="task", done=False,
        due_date=NOW.date() + timedelta(days=2),
    )  # fmt: skip
    marts.add(
        "activities", customer_id=sued, owner_id=ben, kind="meeting", done=True,
        due_date=NOW.date() - timedelta(days=3),
    )  # fmt: skip


SHOWN: dict[str, list[tuple[Any, ...]]] = {
    "What is in the pipeline, and what is it worth?": [
        ("Sales", "New", "EUR", 1, 200, 40, 5),
        ("Sales", "Offer", "EUR", 1, 1_000, 1_000, 20),
    ],
    "What should be closed in each of the next months?": [(NEXT_MONTH, "EUR", 1, 1_000)],
    "Which open deals are stuck in their stage?": [("Kran", "Ada", "Offer", 20, None)],
    "How many deals go on from stage to stage?": [
        ("Sales", "New", 4, Decimal("0.5"), Decimal("0.25"), 40),  # of 5, 40 and 40 days
        ("Sales", "Offer", 2, None, Decimal("0.5"), 55),
    ],
    "How long does a sale take?": [("Sales", 1, 60)],
    "How much do we win and lose each month, and which share?": [
        (month_of(WON_AT), "EUR", 1, 500, 0, 1),
        (month_of(LOST_AT), "USD", 0, 0, 1, 0),
    ],
    "Why do we lose?": [("too dear", "USD", 1, 300)],
    "Who sells how much?": [("Ada", "EUR", 1, 500)] if WON_AT.year == NOW.year else [],
    "What has changed in the pipeline since a month ago?": [
        ("Sales", "New", "EUR", 1, 1, -800),  # Kran, now Lift
        ("Sales", "New", "USD", 1, 0, -300),
        ("Sales", "Offer", "EUR", 0, 1, 1_000),
    ],
    "What did each colleague do in the last four weeks?": [("Ben", "meeting", 1, 1, 1)],
    "Which customers with open deals have we not spoken to for 90 days?": [
        ("Nord", "Ada", ago(100), 1)
    ],
    "Which open deals have no next step?": [("Lift", "Ben", "New", 200, "EUR")],
    "Which products do we sell?": [("Hook", "EUR", 2, 100, 1)],
    "Which sources bring leads that become deals and customers?": [
        ("Web", 2, 1, 1),
        ("not given", 1, 0, 0),
    ],
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_of_an_analyst_is_answered_by_its_query(
    analyst: MartRows, question: str
) -> None:
    """Nobody else reads these queries before an analyst pastes them."""
    assert analyst.query(QUESTIONS[question]) == SHOWN[question]


def test_fourteen_questions_are_answered() -> None:
    """As the page says."""
    assert "## Fourteen questions" in PAGE
    assert len(QUESTIONS) == len(SHOWN) == 14


def test_the_dictionary_is_read_as_the_page_says(analyst: MartRows) -> None:
    """The first query of the page."""
    query = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)[0]

    names = {name: example for name, _, _, _, example, _ in analyst.query(query)}

    assert names["name"] in {"Nord", "Süd"}
