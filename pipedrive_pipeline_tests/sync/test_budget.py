"""What a run may spend of a company's day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.contract import ApiCall
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.daily_budget import (
    UNLIMITED_TOKENS,
    Allowance,
    AllowanceSpent,
    BudgetStatus,
    paused_until,
    standing,
)
from pipedrive_pipeline.sync.budget.usage import UsageRecorder
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.connectors.ledger import LEDGER

ACME, BRAVO, OTHER = Tenant("acme"), Tenant("bravo"), Tenant("other")
SYSTEM = "pipedrive"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)
LISTED = "list persons"


class ManualClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        """The time to which it was set."""
        return self.at


@pytest.fixture
def now() -> ManualClock:
    return ManualClock()


@pytest.fixture
def companies(warehouse: Warehouse) -> Warehouse:
    """Tenants acme and bravo share company 7; other is of company 8."""
    with warehouse.transaction() as connection:
        for tenant, company in ((ACME, "7"), (BRAVO, "7"), (OTHER, "8")):
            connection.execute("insert into integration.tenants (slug) values (%s)", [tenant.slug])
            connection.execute(
                "insert into integration.connections"
                " (tenant_id, system, kind, state, access_token, api_domain, company_id)"
                " values (%s, %s, 'api_token', 'connected', 'sealed', 'https://x.test', %s)",
                [tenant.slug, SYSTEM, company],
            )
    return warehouse


def configure(warehouse: Warehouse, **settings: object) -> None:
    """One setting of acme."""
    (name, value), *_ = settings.items()
    with warehouse.transaction() as connection:
        connection.execute(
            f"insert into integration.sync_settings (tenant_id, system, {name})"
            " values ('acme', 'pipedrive', %s)",
            [value],
        )


def book_of(warehouse: Warehouse, tenant: Tenant, now: ManualClock) -> UsageRecorder:
    """Of a run that begins now, with the company that is connected."""
    book = UsageRecorder(warehouse, Scope(tenant, SYSTEM), now)
    book.company_id = standing(warehouse, Scope(tenant, SYSTEM), now()).company_id
    return book


def spend(
    warehouse: Warehouse, tenant: Tenant, tokens: int, now: ManualClock, left: int | None = None
) -> UsageRecorder:
    """Books one call of the tenant's."""
    book = book_of(warehouse, tenant, now)
    limit = None if left is None else 60_000
    book.on_call(ApiCall(LISTED, tokens, 200, daily_limit=limit, daily_left=left))
    book.write()
    return book


def test_a_company_with_an_unknown_limit_has_thirty_thousand_a_day(companies: Warehouse) -> None:
    budget = standing(companies, Scope(ACME, SYSTEM), NOON)

    assert (budget.limit, budget.left, budget.sharers, budget.resets_at) == (
        30_000,
        30_000,
        2,
        MIDNIGHT,
    )
    assert budget.allowed() == 15_000


def test_tenants_of_one_company_spend_from_one_budget(
    companies: Warehouse, now: ManualClock
) -> None:
    spend(companies, BRAVO, 4_000, now)
    spend(companies, OTHER, 9_000, now)

    assert standing(companies, Scope(ACME, SYSTEM), NOON).left == 26_000


def test_the_next_day_begins_with_everything(companies: Warehouse, now: ManualClock) -> None:
    spend(companies, ACME, 4_000, now)

    assert standing(companies, Scope(ACME, SYSTEM), MIDNIGHT - timedelta(seconds=1)).left == 26_000
    assert standing(companies, Scope(ACME, SYSTEM), MIDNIGHT).left == 30_000


def test_what_the_source_tells_replaces_our_own_count(
    companies: Warehouse, now: ManualClock
) -> None:
    """Other apps and the company's own users spend too; our records never show them."""
    spend(companies, BRAVO, 100, now, left=20_000)
    spend(companies, ACME, 300, now)

    budget = standing(companies, Scope(ACME, SYSTEM), NOON)

    assert (budget.limit, budget.left) == (60_000, 19_700)


def test_yesterdays_answer_does_not_count_today(companies: Warehouse, now: ManualClock) -> None:
    spend(companies, ACME, 100, now, left=20)

    budget = standing(companies, Scope(ACME, SYSTEM), MIDNIGHT + timedelta(hours=1))

    assert (budget.limit, budget.left) == (60_000, 60_000)


def test_a_limit_too_small_for_any_plan_holds_no_later_day_back(
    companies: Warehouse, now: ManualClock
) -> None:
    """It would forbid the very call whose answer corrects it: the tenant would stay paused."""
    book = book_of(companies, ACME, now)
    book.on_call(ApiCall(LISTED, 10, 200, daily_limit=1, daily_left=1))
    book.write()

    assert standing(companies, Scope(ACME, SYSTEM), NOON).allowed() == 0
    assert standing(companies, Scope(ACME, SYSTEM), MIDNIGHT).left == 30_000


def test_a_spent_day_lasts_as_long_as_the_refusal_said(
    companies: Warehouse, now: ManualClock
) -> None:
    """The source's day does not end at midnight in UTC; it says how long, and only then."""
    seven = datetime(2026, 11, 21, 7, tzinfo=UTC)
    spend(companies, ACME, 100, now, left=10).note_spent(seven)

    budget = standing(companies, Scope(BRAVO, SYSTEM), MIDNIGHT + timedelta(hours=1))

    assert (budget.left, budget.resets_at) == (0, seven)
    assert standing(companies, Scope(BRAVO, SYSTEM), seven).left == 60_000


def test_what_a_former_company_has_left_says_nothing_of_the_new_one(
    companies: Warehouse, now: ManualClock
) -> None:
    """A run that goes on while its tenant moves would pause the new company for a day."""
    book = book_of(companies, ACME, now)
    with companies.transaction() as connection:
        connection.execute(
            "update integration.connections set company_id = '9' where tenant_id = 'acme'"
        )
    book.on_call(ApiCall(LISTED, 400, 200, daily_limit=60_000, daily_left=10))
    book.write()
    book.note_spent(MIDNIGHT)

    assert standing(companies, Scope(ACME, SYSTEM), NOON).left == 30_000
    assert standing(companies, Scope(BRAVO, SYSTEM), NOON).left == 29_600


def test_a_limit_that_a_person_set_caps_what_the_source_tells(
    companies: Warehouse, now: ManualClock
) -> None:
    configure(companies, daily_token_budget=1_000)
    spend(companies, BRAVO, 400, now, left=50_000)

    budget = standing(companies, Scope(ACME, SYSTEM), NOON)

    assert (budget.limit, budget.left) == (1_000, 600)


def test_a_source_that_allows_less_than_a_person_set_is_believed(
    companies: Warehouse, now: ManualClock
) -> None:
    configure(companies, daily_token_budget=90_000)
    spend(companies, ACME, 400, now, left=150)

    assert standing(companies, Scope(ACME, SYSTEM), NOON).left == 150


def test_a_run_stops_before_its_share_is_passed(companies: Warehouse, now: ManualClock) -> None:
    configure(companies, daily_token_budget=100)
    allowance = Allowance(companies, Scope(ACME, SYSTEM), now)
    for _ in range(5):
        allowance.before_call(LISTED, 10)

    with pytest.raises(AllowanceSpent) as refused:
        allowance.before_call(LISTED, 10)

    assert refused.value.resets_at == MIDNIGHT
    assert "2026-11-21 00:00 UTC" in str(refused.value)


def test_the_share_is_the_tenants_own_setting(companies: Warehouse) -> None:
    configure(companies, budget_share=0.1)

    assert standing(companies, Scope(ACME, SYSTEM), NOON).allowed() == 3_000
    assert standing(companies, Scope(BRAVO, SYSTEM), NOON).allowed() == 15_000


def test_a_sweep_leaves_what_every_tenant_needs_for_its_changes() -> None:
    """With two tenants of 60 tokens each and 130 left, a sweep may spend 10 and a sync 65."""
    short = BudgetStatus(limit=30_000, left=130, share=0.5, sharers=2, resets_at=MIDNIGHT)

    assert short.allowed(reserve=120) == 10
    assert short.allowed() == 65


def test_the_first_answer_corrects_a_run_that_thought_itself_rich(
    companies: Warehouse, now: ManualClock
) -> None:
    allowance = Allowance(companies, Scope(ACME, SYSTEM), now)
    allowance.before_call(LISTED, 10)
    allowance.on_call(ApiCall(LISTED, 10, 200, daily_limit=30_000, daily_left=30))

    allowance.before_call(LISTED, 10)
    with pytest.raises(AllowanceSpent):
        allowance.before_call(LISTED, 10)


def test_the_first_answer_frees_a_company_with_more_seats(
    companies: Warehouse, now: ManualClock
) -> None:
    spend(companies, ACME, 29_990, now)
    allowance = Allowance(companies, Scope(ACME, SYSTEM), now, reserve_per_tenant=0)
    with pytest.raises(AllowanceSpent):
        allowance.before_call(LISTED, 10)

    allowance.on_call(ApiCall(LISTED, 0, 200, daily_limit=210_000, daily_left=180_000))
    allowance.before_call(LISTED, 10)

    assert allowance.standing.limit == 210_000


def test_what_another_run_books_meanwhile_is_not_spent_twice(
    companies: Warehouse, now: ManualClock
) -> None:
    configure(companies, daily_token_budget=100)
    allowance = Allowance(companies, Scope(ACME, SYSTEM), now)
    spend(companies, BRAVO, 95, now)

    allowance.refresh()

    with pytest.raises(AllowanceSpent):
        allowance.before_call(LISTED, 10)


def test_a_run_across_midnight_begins_a_new_day(companies: Warehouse, now: ManualClock) -> None:
    """Begun with little left at 23:59, it would else be paused for the whole of the next day."""
    configure(companies, daily_token_budget=20)
    allowance = Allowance(companies, Scope(ACME, SYSTEM), now)
    allowance.before_call(LISTED, 10)
    with pytest.raises(AllowanceSpent):
        allowance.before_call(LISTED, 10)

    now.at = MIDNIGHT

    allowance.before_call(LISTED, 10)


@pytest.mark.parametrize(("now_is", "expected"), [(NOON, MIDNIGHT), (MIDNIGHT, None)])
def test_a_paused_tenant_is_paused_until_its_reset(
    companies: Warehouse, now_is: datetime, expected: datetime | None
) -> None:
    with companies.transaction() as connection:
        connection.execute(
            "insert into integration.runs (tenant_id, system, sync_type, trigger, status,"
            " started_at, completed_at, resume_at)"
            " values ('acme', 'pipedrive', 'full', 'manual', 'paused', %s, %s, %s)",
            [NOON, NOON, MIDNIGHT],
        )

    assert paused_until(companies, Scope(ACME, SYSTEM), now_is) == expected
    assert paused_until(companies, Scope(BRAVO, SYSTEM), now_is) is None


def test_connecting_again_lifts_a_pause(companies: Warehouse) -> None:
    """It may be another company; if it is the same one, its spent day still holds the run back."""
    with companies.transaction() as connection:
        connection.execute(
            "insert into integration.runs (tenant_id, system, sync_type, trigger, status,"
            " started_at, completed_at, resume_at)"
            " values ('acme', 'pipedrive', 'full', 'manual', 'paused', %s, %s, %s)",
            [NOON, NOON, MIDNIGHT],
        )
        connection.execute(
            "update integration.connections set connected_at = %s where tenant_id = 'acme'",
            [NOON + timedelta(minutes=1)],
        )

    assert paused_until(companies, Scope(ACME, SYSTEM), NOON + timedelta(hours=1)) is None


def test_a_system_without_a_budget_is_not_held_to_anothers(
    companies: Warehouse, now: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30,000 tokens a day are Pipedrive's smallest plan, and no other system's."""
    monkeypatch.setitem(registry._registered, LEDGER.key, LEDGER)

    of_pipedrive = standing(companies, Scope(ACME, "pipedrive"), now())
    of_ledger = standing(companies, Scope(ACME, LEDGER.key), now())

    assert of_pipedrive.limit == 30_000
    assert of_ledger.limit == UNLIMITED_TOKENS
