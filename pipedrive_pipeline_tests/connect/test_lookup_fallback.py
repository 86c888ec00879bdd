"""`fallback=source`: what crm does not have yet is searched in the CRM, brought in and answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.lock import walk_lock
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

pytestmark = pytest.mark.slow
LOOKUP = "/api/crm/lookup"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with serve(seeded(5, 10)) as running:
        yield running


@pytest.fixture
def world(site: ConnectSite, sandbox: Sandbox, tmp_path: Path) -> Iterator[World]:
    """Acme, connected to the sandbox and synced."""
    vault = site.world.vault
    world = World(vault.warehouse, vault.settings.model_copy(update={"pipeline_home": tmp_path}))
    world.connect(ACME, sandbox)
    world.sync(sync_type="full")
    yield world
    for schema in (Scope(ACME, SYSTEM).staging_schema, ACME.analytics_schema):
        site.world.execute(f"drop schema if exists {schema} cascade")


@pytest.fixture
def client(site: ConnectSite, world: World) -> httpx.Client:
    with world.warehouse.as_app(ACME) as connection:
        key = keys.add(connection, ACME, Role.USER, "phone system", who="a test")
    return site.client({"x-api-key": key.text})


def ask(client: httpx.Client, **question: str) -> dict[str, Any]:
    answer = client.get(LOOKUP, params={**question, "fallback": "source"})
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def new_person(sandbox: Sandbox) -> int:
    """A person with an organization, made after the sync."""
    account = sandbox.account
    organization = account.create("organizations", name="Brand New")["id"]
    return int(
        account.create(
            "persons",
            name="Nora New",
            org_id=organization,
            phones=[{"value": "030 55 66 77 88", "primary": True, "label": "work"}],
            emails=[{"value": "Nora@brandnew.example", "primary": True, "label": "work"}],
        )["id"]
    )


def test_somebody_new_is_searched_brought_in_and_answered_with_the_company(
    client: httpx.Client, sandbox: Sandbox, world: World, site: ConnectSite
) -> None:
    """By an address, then by a number: the sandbox compares texts as they were typed."""
    nobody = ask(client, domain="brandnew.example")
    person_id = new_person(sandbox)
    found = ask(client, email="nora@BrandNew.example")
    again = ask(client, email="nora@BrandNew.example")
    site.world.execute("delete from crm.contact_points")
    by_phone = ask(client, phone="030 55 66 77 88")

    (match,) = found["matches"]
    assert (nobody["matches"], nobody["foundIn"]) == ([], None)
    assert [each["state"] for each in nobody["searched"]] == ["not_found"]
    assert (found["foundIn"], found["searched"][0]["state"]) == ("source", "read")
    assert match["contact"]["remoteId"] == str(person_id)
    assert match["customer"]["name"] == "Brand New"
    assert (again["foundIn"], again["searched"]) == ("crm", [])
    assert by_phone["searched"][0]["state"] == "read"
    booked = {row["call_kind"]: row for row in world.rows("integration", "api_usage", "call_kind")}
    assert (booked["search persons"]["calls"], booked["search persons"]["tokens"]) == (3, 60)


def test_a_search_waits_for_no_run_and_spends_nothing_that_syncs_need(
    client: httpx.Client, sandbox: Sandbox, world: World, site: ConnectSite
) -> None:
    """Neither is an error of the look-up: crm was asked, and has nobody."""
    new_person(sandbox)
    with walk_lock(world.warehouse, Scope(ACME, SYSTEM)):
        during_a_run = ask(client, email="nora@brandnew.example")
    signalled = world.rows("integration", "signals", "entity")
    site.world.execute(
        "insert into integration.sync_settings (tenant_id, system, daily_token_budget)"
        " values ('acme', 'pipedrive', 1)"
        " on conflict (tenant_id, system) do update set daily_token_budget = 1"
    )
    before = sandbox.requests.count
    without_tokens = ask(client, email="nora@brandnew.example")

    assert during_a_run["searched"][0]["state"] == "pending"
    assert [row["entity"] for row in signalled] == ["organizations", "persons"]
    (searched,) = without_tokens["searched"]
    assert (searched["state"], searched["code"]) == ("failed", "budget_spent")
    assert sandbox.requests.count == before
