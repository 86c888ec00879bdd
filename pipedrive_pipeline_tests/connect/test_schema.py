"""Requests that fit the API description, or nearly do: no 5xx, and only described answers.

Each operation gets values that fit and values that do not, with a key of each role: the same cases
each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.tenants import filled_tenant

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
EVERY_TIME, WITH_TIME = 700, 3_000  # cases: three of each operation and mode


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


@pytest.mark.slow
def test_no_question_breaks_the_api(site: ConnectSite, session: requests.Session) -> None:
    answered = ask_everything(site, session, Role.ADMIN, EVERY_TIME)

    assert answered.total() >= EVERY_TIME
    assert {200, 201, 202, 404, 422} <= set(answered)  # the questions reach what they ask about


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("role", Role)
def test_three_thousand_questions_do_not_break_the_api(
    site: ConnectSite, session: requests.Session, role: Role
) -> None:
    answered = ask_everything(site, session, role, WITH_TIME)

    assert answered.total() >= WITH_TIME


def ask_everything(
    site: ConnectSite, session: requests.Session, role: Role, cases: int
) -> Counter[int]:
    """How often each status was answered, over all operations."""
    tenant = filled_tenant(site, "acme", 1)
    return ask_under("/", site, session, tenant.keys[role], cases)


def ask_under(
    start: str, site: ConnectSite, session: requests.Session, key: str, cases: int
) -> Counter[int]:
    """How often each status was answered, over the operations whose path starts so."""
    site.limit_requests(10**9)
    headers = {"x-api-key": key}
    answered: Counter[int] = Counter()
    described = [row.ok() for row in openapi.from_dict(site.app.openapi()).get_all_operations()]  # type: ignore[union-attr]
    # Not the operations that could revoke the caller's key.
    operations = [
        row for row in described if "{key_id}" not in row.path and row.path.startswith(start)
    ]
    operations.sort(
        key=lambda operation: "disconnect" in operation.path
    )  # no request works after it
    each = -(-cases // (2 * len(operations)))
    for operation in operations:
        for mode in GenerationMode:
            site.forgive()  # wrong keys among the values would close the rest to this address

            def ask(case: Case[Any]) -> None:
                answer = case.call(
                    base_url=site.url, headers=headers, session=session, allow_redirects=False
                )
                answered[answer.status_code] += 1
                case.validate_response(answer, checks=CHECKS)

            run(ask, operation, mode, each)
    # What does not fit runs out where an operation has next to no parameters.
    run(ask, operations[-1], GenerationMode.POSITIVE, max(1, cases - answered.total()))
    return answered


def run(ask: Any, operation: Any, mode: GenerationMode, cases: int) -> None:
    """Asks as many cases of one operation; fewer where there are no more."""
    limited = settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    # An operation without parameters has nothing that could not fit.
    with suppress(Unsatisfiable):
        limited(given(case=operation.as_strategy(generation_mode=mode))(ask))()
