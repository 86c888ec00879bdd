"""One tenant's slow requests, while others use the app."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest

from pipedrive_pipeline.connect.errors import TooMuchAtOnce
from pipedrive_pipeline.connect.slow_work_limit import SLOW_MAX, SLOW_OF_TENANT_MAX, SlowWork
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite

CALLS = 60


@pytest.mark.slow
def test_sixty_slow_tests_of_one_tenant_stop_nobody_else(site: ConnectSite) -> None:
    """They once occupied all 40 threads: even `/healthz` waited for the slowest of them."""
    site.world.connect_acme()
    site.world.oauth.answers_me.clear()
    with ThreadPoolExecutor(CALLS) as pool:
        calls = [pool.submit(lambda: site.operator().post(f"{ROUTES}/test")) for _ in range(CALLS)]
        try:
            early = as_completed(calls, timeout=60)
            refused = [next(early).result() for _ in range(CALLS - SLOW_OF_TENANT_MAX)]
            others = [
                site.client().get("/healthz").status_code,
                site.client().get("/login").status_code,
                site.operator("bravo").get(f"{ROUTES}/status").status_code,
            ]
        finally:
            site.world.oauth.answers_me.set()

    assert others == [200, 200, 200]
    assert {answer.json()["error"]["code"] for answer in refused} == {"too_much_at_once"}
    assert {answer.headers["retry-after"] for answer in refused} == {"2"}
    assert Counter(call.result().status_code for call in calls) == {
        200: SLOW_OF_TENANT_MAX,
        429: CALLS - SLOW_OF_TENANT_MAX,
    }


def test_slots_return_after_success_and_failure() -> None:
    work, acme = SlowWork(), Tenant("acme")
    for _ in range(SLOW_OF_TENANT_MAX + 1):
        with pytest.raises(ValueError, match="broken"), work.slot(acme):
            raise ValueError("broken")

    with work.slot(acme), work.slot(acme), pytest.raises(TooMuchAtOnce), work.slot(acme):
        raise AssertionError("a third slot")


def test_all_tenants_together_have_a_limit_too() -> None:
    work, tenants = SlowWork(), [Tenant(f"t{number}") for number in range(SLOW_MAX + 1)]
    slots = [work.slot(tenant) for tenant in tenants]
    for slot in slots[:SLOW_MAX]:
        slot.__enter__()

    with pytest.raises(TooMuchAtOnce), slots[SLOW_MAX]:
        raise AssertionError("a slot beyond the limit")
