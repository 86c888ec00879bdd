"""Attacks leave a trace: counts, a log without secrets, one alert a burst."""

from __future__ import annotations

import logging

import httpx
import pytest
from pydantic import SecretStr

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.refused_requests import BURST, RefusalCounter
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.connect.tenants import FilledTenant, filled_tenant
from pipedrive_pipeline_tests.scenarios.receiver import receiver
from pipedrive_pipeline_tests.vault.world import VaultSetup

CALLBACK = f"{ROUTES}/callback"


@pytest.fixture
def tenant(site: ConnectSite) -> FilledTenant:
    return filled_tenant(site, "acme", 1)


def stored(site: VaultSetup) -> dict[tuple[str, str | None], int]:
    rows = site.rows("select code, tenant_id, refusals from integration.refusals")
    return {(row["code"], row["tenant_id"]): row["refusals"] for row in rows}


def attack(site: ConnectSite, user_key: str) -> None:
    """A wrong key, a forged state, a role that is too low, another tenant's name."""
    wrong = {"authorization": "Bearer a-wrong-key-that-must-not-be-stored"}
    answers: list[httpx.Response] = [
        site.client(wrong).get(f"{ROUTES}/status"),
        site.client(wrong).get(f"{ROUTES}/status"),
        site.client().get(CALLBACK, params={"state": "forged.state", "code": "stolen-code"}),
        site.client({"x-api-key": user_key}).delete(f"{ROUTES}/disconnect"),
        site.client({"x-api-key": user_key, "x-tenant": "bravo"}).get(f"{ROUTES}/status"),
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 400, 403, 403]


def test_attacks_are_counted_and_logged_without_secrets(
    site: ConnectSite, tenant: FilledTenant, caplog: pytest.LogCaptureFixture
) -> None:
    attack(site, tenant.keys[Role.USER])
    counter: RefusalCounter = site.app.state.services.refusals

    with caplog.at_level(logging.INFO):
        counter.store(site.world.vault.warehouse, site.world.vault.settings)

    assert stored(site.world) == {
        ("not_signed_in", None): 2,
        ("state_refused", None): 1,
        ("role_too_low", "acme"): 1,
        ("other_tenant", None): 1,
    }
    assert "not_signed_in 2" in caplog.text
    for secret in ("a-wrong-key", "forged.state", "stolen-code", tenant.keys[Role.USER]):
        assert secret not in caplog.text


@pytest.mark.slow
def test_a_burst_is_alerted_once_an_hour(acme: VaultSetup) -> None:
    with receiver() as (address, arrived):
        settings = Settings.model_validate(
            {**acme.vault.settings.model_dump(), "alert_urls": (SecretStr(address),)}
        )
        for number in (BURST - 1, 1, BURST):
            refused(acme.vault.warehouse, settings, number)

    assert [alert["title"] for alert in arrived] == [
        f"Connect app: {BURST} requests refused in this hour as not_signed_in"
    ]


def refused(warehouse: Warehouse, settings: Settings, number: int) -> None:
    """As many refusals by unknown keys, stored."""
    counter = RefusalCounter()
    for _ in range(number):
        counter.count("not_signed_in", None)
    counter.store(warehouse, settings)


def test_ordinary_errors_are_no_attacks(site: ConnectSite) -> None:
    site.operator().get(f"{ROUTES}/sync/history/00000000-0000-0000-0000-000000000000")
    counter: RefusalCounter = site.app.state.services.refusals

    counter.store(site.world.vault.warehouse, site.world.vault.settings)

    assert stored(site.world) == {}
