"""Budget, burst window and abuse: what is counted, what is answered, when it returns."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Options, Sandbox, ServerClock, seeded, serve
from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer
from pipedrive_pipeline.sandbox.kit.grants import TokenHolder
from pipedrive_pipeline.sandbox.kit.journal import Journal
from pipedrive_pipeline.sandbox.pipedrive.limits import ABUSE_COUNT, BurstLimit, TokenBudget
from pipedrive_pipeline.sandbox.pipedrive.options import Plan
from pipedrive_pipeline_tests.sandbox.client import SandboxClient, as_app

PERSON = TokenHolder("t", 900, False, frozenset())
APP = TokenHolder("a", 900, True, frozenset())


@pytest.mark.parametrize(
    ("plan", "person", "app", "budget"),
    [
        ("lite", 20, 80, 30_000),
        ("growth", 40, 160, 60_000),
        ("premium", 100, 400, 150_000),
        ("ultimate", 120, 480, 210_000),
    ],
)
def test_each_plan_has_its_limits(plan: Plan, person: int, app: int, budget: int) -> None:
    options = Options(plan=plan, seats=1)
    seconds = [0.0]
    window = BurstLimit(options, lambda: seconds[0])

    for caller, limit in ((PERSON, person), (APP, app)):
        admitted = [window.admit(caller, is_search=False) for _ in range(limit + 1)]
        assert not any(isinstance(answer, SandboxAnswer) for answer in admitted[:limit])
        assert isinstance(admitted[limit], SandboxAnswer)
    assert TokenBudget(options, ServerClock()).limit == budget


def test_the_window_rolls_over_two_seconds_and_searches_have_their_own() -> None:
    seconds = [0.0]
    window = BurstLimit(Options(plan="lite"), lambda: seconds[0])
    for _ in range(20):
        window.admit(PERSON, is_search=False)

    refused = window.admit(PERSON, is_search=False)
    searches = [window.admit(PERSON, is_search=True) for _ in range(11)]
    seconds[0] = 2.0
    later = window.admit(PERSON, is_search=False)

    assert isinstance(refused, SandboxAnswer)
    assert refused.status == 429
    assert [isinstance(answer, SandboxAnswer) for answer in searches] == [False] * 10 + [True]
    assert not isinstance(later, SandboxAnswer)


def test_hammering_on_with_an_api_token_is_blocked_by_the_edge_for_a_minute() -> None:
    seconds = [0.0]
    window = BurstLimit(Options(plan="lite"), lambda: seconds[0])
    statuses = []
    for _ in range(20 + ABUSE_COUNT + 1):
        answer = window.admit(PERSON, is_search=False)
        statuses.append(answer.status if isinstance(answer, SandboxAnswer) else 200)
    seconds[0] = 59.0
    still = window.admit(PERSON, is_search=False)
    seconds[0] = 61.0

    assert statuses == [200] * 20 + [429] * ABUSE_COUNT + [403]
    assert isinstance(still, SandboxAnswer)
    assert b"Cloudflare" in still.body
    assert not isinstance(window.admit(PERSON, is_search=False), SandboxAnswer)


def test_a_burst_is_answered_429_with_its_headers_and_no_retry_after(account: CrmAccount) -> None:
    with serve(account, plan="lite") as sandbox, SandboxClient(sandbox) as client:
        answers = [client.get("/v1/users/me") for _ in range(21)]

    refused = answers[-1]
    assert [answer.status_code for answer in answers] == [200] * 20 + [429]
    assert refused.json() == {
        "success": False,
        "error": "Request over limit",
        "errorCode": 429,
        "error_info": "Please check developers.pipedrive.com",
    }
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert "retry-after" not in refused.headers
    assert answers[4].headers["x-ratelimit-remaining"] == "15"


def test_every_kind_of_request_has_its_price(sandbox: Sandbox) -> None:
    prices = {
        "/api/v2/organizations/1": 1,
        "/api/v2/organizations?limit=1": 10,
        "/api/v2/organizations?limit=500": 10,
        "/api/v2/persons/search?term=GmbH": 20,
        "/api/v2/personFields": 10,
        "/api/v2/personFields/name": 1,
        "/v1/personFields": 20,
        "/v1/users": 20,
        "/v1/users/me": 2,
        "/api/v1/users/900": 2,
        "/api/v2/persons/99999": 1,
        "/api/v2/persons?unknown=1": 0,
    }
    with SandboxClient(sandbox) as client:
        for path in prices:
            client.http.get(path)
        client.http.post("/api/v2/persons", json={"name": "A B"})
        client.http.delete("/api/v2/persons/151")
        client.http.put("/v1/persons/1/merge", json={"merge_with_id": 2})

    assert [request.cost for request in sandbox.requests] == [*prices.values(), 5, 3, 40]
    assert sandbox.requests.tokens_spent == sum(prices.values()) + 48
    assert sandbox.budget.limit - sandbox.budget.remaining == sandbox.requests.tokens_spent


def test_a_spent_budget_is_429_until_the_servers_midnight(account: CrmAccount) -> None:
    account.clock.set(datetime(2026, 10, 3, 22, 54, 21, tzinfo=UTC))
    account.clock.freeze()
    with serve(account, plan="lite", seats=1) as sandbox, SandboxClient(sandbox) as client:
        sandbox.budget.spend(29_995)
        refused = client.get("/api/v2/organizations")
        cheap = client.get("/api/v2/organizations/1")
        account.clock.advance(3_939)
        after = client.get("/api/v2/organizations")

    assert refused.status_code == 429
    assert refused.json()["error"] == "daily request budget exceeded"
    assert refused.headers["retry-after"] == "3939"
    assert refused.headers["x-daily-ratelimit-token-remaining"] == "0"
    assert cheap.headers["x-daily-ratelimit-token-remaining"] == "4"
    assert after.headers["x-daily-ratelimit-token-remaining"] == "29990"


def test_the_budget_returns_at_the_midnight_of_its_zone() -> None:
    clock = ServerClock(lambda: datetime(2026, 10, 24, 21, 0, tzinfo=UTC))  # 23:00 in Berlin

    assert TokenBudget(Options(budget_zone="Europe/Berlin"), clock).seconds_to_reset() == 3_600
    clock.advance(3_600)  # the night in which the clocks go back
    assert TokenBudget(Options(budget_zone="Europe/Berlin"), clock).seconds_to_reset() == 25 * 3_600


def test_the_budget_is_shared_by_all_tokens_of_the_company(sandbox: Sandbox) -> None:
    with as_app(sandbox, 901) as app, SandboxClient(sandbox) as client:
        app.get("/api/v2/persons")
        left = client.get("/v1/users/me").headers["x-daily-ratelimit-token-remaining"]

    assert int(left) == sandbox.budget.limit - 12


def test_a_top_up_is_added_and_refusals_cost_only_when_the_switch_says_so() -> None:
    options = Options(plan="lite", seats=1, top_up_tokens=5, charges_refused=True)
    with serve(seeded(1, 1), options) as sandbox, SandboxClient(sandbox) as client:
        client.get("/api/v2/persons", unknown=1)

    assert sandbox.budget.remaining == 30_005 - 10


def test_the_journal_keeps_the_newest_and_counts_all() -> None:
    journal = Journal(capacity=3)
    with serve(seeded(1, 1)) as sandbox, SandboxClient(sandbox) as client:
        for _ in range(5):
            client.get("/v1/users/me")
        for request in sandbox.requests:
            journal.add(request)

    assert [entry.number for entry in journal] == [3, 4, 5]
    assert journal.tokens_spent == 10
    assert [entry.number for entry in journal.last(2)] == [5, 4]


def test_no_secret_is_in_the_journal(account: CrmAccount) -> None:
    with serve(account, takes_token_in_query=True) as sandbox, SandboxClient(sandbox, {}) as client:
        client.get("/v1/users/me", api_token=sandbox.api_token)

    (request,) = sandbox.requests
    assert request.status == 200
    assert sandbox.api_token not in str(request)
