"""`up`: a whole house from one command, walked through by HTTP alone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipedrive_pipeline.warehouse.embedded import running_server
from pipedrive_pipeline_tests.cli.household import Household, kept
from pipedrive_pipeline_tests.connect.browser import ROUTES

LIVE = "select pipedrive_id, id from crm.customers where deleted_at is null order by 1"
ACCESS_TOKENS = 'select access_token as "sealed" from integration.connections'


@pytest.fixture
def house() -> Iterator[Household]:
    with tempfile.TemporaryDirectory(prefix="pp-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # root's server runs as an account that must reach it
        with kept(Path(folder)) as made:
            yield made


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tenants_whole_life_by_http_alone(house: Household) -> None:
    """One start for all of it: each takes half a minute."""
    for name in ("dagster", "connect", "sandbox"):
        assert httpx.get(house.urls[name], follow_redirects=True).status_code == 200
    house.synced(1)  # nothing else was done: the connection asked, a sensor heard
    first = house.rows(LIVE)
    assert len(first) == _organizations(house)

    a_taken_port_is_named(house)
    the_same_company_comes_back(house)
    assert house.rows(LIVE) == first
    another_company_comes(house)
    assert _former(house) == first
    assert {row["id"] for row in house.rows(LIVE)}.isdisjoint(row["id"] for row in first)
    no_secret_lies_about(house)

    assert house.stop() == 0
    assert house.processes() == []
    assert running_server(house.home) is None
    assert not (house.home / "up.json").exists()


def a_taken_port_is_named(house: Household) -> None:
    said = house.terminal.run("up")

    assert said.code == 2
    assert f"port {house.terminal.settings['DAGSTER_PORT']} is taken" in said.error
    assert "DAGSTER_PORT" in said.error


def the_same_company_comes_back(house: Household) -> None:
    with house.operator() as operator, house.browser() as browser:
        ended = operator.delete(f"{ROUTES}/disconnect").json()["data"]
        assert (ended["state"], ended["isRevoked"]) == ("disconnected", True)
        assert operator.post(f"{ROUTES}/test").status_code == 404

        confirmed = browser.post(f"{ROUTES}/confirm", data=house.consented(browser))

        assert confirmed.status_code == 303
        assert operator.get(f"{ROUTES}/status").json()["data"]["state"] == "connected"
    house.synced(2)


def another_company_comes(house: Household) -> None:
    other = {"action": "company", "company_id": 8, "name": "Beta Sandbox GmbH"}
    httpx.post(f"{house.urls['sandbox']}/_sandbox/grants", json=other).raise_for_status()
    with house.operator() as operator, house.browser() as browser:
        form = house.consented(browser)

        refused = browser.post(f"{ROUTES}/confirm", data=form)
        held = operator.get(f"{ROUTES}/status").json()["data"]["company"]["name"]
        confirmed = browser.post(f"{ROUTES}/confirm", data={**form, "other_company": "yes"})
        now = operator.get(f"{ROUTES}/status").json()["data"]["company"]["name"]

    assert refused.status_code == 409
    assert "Beta Sandbox GmbH" in refused.text
    assert held == "ACME Sandbox GmbH"
    assert (confirmed.status_code, now) == (303, "Beta Sandbox GmbH")
    house.synced(3)


def no_secret_lies_about(house: Household) -> None:
    """Keys and sealed tokens, in every file under the home but those made to hold one."""
    keys = {"token-encryption-keys", "operator-key"}
    secrets = [(house.home / name).read_text().strip() for name in keys]
    secrets += [row["sealed"] for row in house.rows(ACCESS_TOKENS)]
    files = [
        path
        for path in house.home.rglob("*")
        if path.is_file() and path.name not in keys and "postgres" not in path.parts
    ]
    told = [path.name for path in files for one in secrets if one in path.read_text("latin-1")]
    assert told == []
    command_lines = " ".join(" ".join(one.cmdline()) for one in house.processes())
    assert not any(secret in command_lines for secret in secrets)


def _organizations(house: Household) -> int:
    told = httpx.get(f"{house.urls['sandbox']}/_sandbox/records/organizations").text
    return len([json.loads(line) for line in told.splitlines()])


def _former(house: Household) -> list[dict[str, object]]:
    return house.rows(
        "select former_pipedrive_id as pipedrive_id, id from crm.customers"
        " where deletion_reason = 'company_changed' and pipedrive_id is null order by 1"
    )
