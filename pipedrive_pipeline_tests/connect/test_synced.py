"""The API on a tenant that was really synced: fields, a mapping tried and saved, a price."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.connect.tenants import client_with
from pipedrive_pipeline_tests.scenarios.world import ACME, World


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with serve(seeded(20, 30)) as running:
        yield running


@pytest.fixture
def world(site: ConnectSite, sandbox: Sandbox, tmp_path: Path) -> Iterator[World]:
    """Acme, connected to the sandbox and synced."""
    vault = site.world.vault
    settings = vault.settings.model_copy(update={"pipeline_home": tmp_path})
    world = World(vault.warehouse, settings)
    world.connect(ACME, sandbox)
    world.sync(sync_type="full")
    yield world
    for schema in (Scope(ACME, "pipedrive").staging_schema, ACME.analytics_schema):
        site.world.execute(f"drop schema if exists {schema} cascade")


@pytest.fixture
def manager(site: ConnectSite, world: World) -> httpx.Client:
    with world.warehouse.as_app(ACME) as connection:
        key = keys.add(connection, ACME, Role.MANAGER, "our app", who="a test")
    return client_with(site, key.text)


@pytest.mark.slow
def test_a_mapping_is_tried_saved_and_built_without_a_call(
    site: ConnectSite, world: World, manager: httpx.Client, sandbox: Sandbox
) -> None:
    """From the list of fields to the rows, as an app's own page would do it."""
    fields = manager.get(f"{ROUTES}/fields").json()["data"]
    custom = next(
        row
        for row in fields
        if row["isCustom"] and row["entity"] == "organizations" and row["type"] == "varchar"
    )
    mapping = {"organizations": {custom["key"]: "attributes.from_the_api"}, "persons": {}}
    calls = len(sandbox.requests)
    tried = manager.post(f"{ROUTES}/field-mapping/preview", json={"mapping": mapping})
    untouched = manager.get(f"{ROUTES}/field-mapping").json()["data"]
    saved = manager.put(f"{ROUTES}/field-mapping", json={"mapping": mapping, "version": 0})
    asked = manager.get(f"{ROUTES}/status").json()["data"]["current"]
    with world.run(sync_type="remap") as run:
        run.build_marts()

    (coverage,) = tried.json()["data"]["coverage"]
    assert (coverage["records"], coverage["source"]) == (20, custom["key"])
    assert untouched["version"] == 0
    assert (saved.status_code, saved.json()["data"]["version"]) == (200, 1)
    assert [(row["syncType"], row["status"]) for row in asked] == [("remap", "queued")]
    filled = site.world.rows(
        "select count(*) as rows from crm.customers where attributes ? 'from_the_api'"
        " and attributes ->> 'from_the_api' is not null"
    )
    assert filled == [{"rows": coverage["filled"]}]
    assert len(sandbox.requests) == calls
    now = manager.get(f"{ROUTES}/fields").json()["data"]
    assert [row["fills"] for row in now if row["key"] == custom["key"]] == [
        ["attributes.from_the_api"]
    ]


@pytest.mark.slow
def test_a_preview_names_values_that_would_be_refused(manager: httpx.Client) -> None:
    """It answered 500 as soon as there was one: three facts did not fit a model of two."""
    fields = manager.get(f"{ROUTES}/fields").json()["data"]
    texts = [row for row in fields if row["isCustom"] and row["type"] == "varchar"]
    key = next(row["key"] for row in texts if row["entity"] == "organizations")
    mapping = {"organizations": {key: {"target": "employee_count", "as": "number"}}}

    tried = manager.post(f"{ROUTES}/field-mapping/preview", json={"mapping": mapping})

    assert tried.status_code == 200
    (coverage,) = tried.json()["data"]["coverage"]
    assert coverage["refused"] > 0
    example = coverage["refusedExamples"][0]
    assert example["remoteId"].isdigit()
    assert example["value"]
    assert example["reason"] == "is no whole number of 64 bits"


@pytest.mark.slow
def test_status_shows_rows_freshness_and_budget_and_a_full_sync_its_price(
    world: World, manager: httpx.Client
) -> None:
    status = manager.get(f"{ROUTES}/status").json()["data"]
    price = manager.post(f"{ROUTES}/sync?dryRun=true", json={"syncType": "full"})
    small = manager.post(f"{ROUTES}/sync?dryRun=true", json={})

    entities = {row["name"]: row for row in status["entities"]}
    assert {row["state"] for row in entities.values()} == {"complete"}
    assert {name: row["rows"] for name, row in entities.items() if row["mart"]} == {
        "users": 4,
        "organizations": 20,
        "persons": 30,
    }
    assert all(row["missing"] == 0 for row in entities.values() if row["mart"])
    assert {name for name, row in entities.items() if row["watermark"]} == {
        "organizations",
        "persons",
    }
    (row,) = world.history()
    assert status["lastRun"]["id"] == str(row["id"])
    assert status["lastRun"]["marts"]["customers"]["created"] == 20
    assert 0 < status["budget"]["used"] < status["budget"]["limit"]
    assert status["budget"]["used"] + status["budget"]["left"] == status["budget"]["limit"]
    assert price.status_code == small.status_code == 200
    assert price.json()["data"]["tokens"] == sum(price.json()["data"]["entities"].values()) > 0
    assert (
        world.rows("integration", "sync_requests")[-1]["sync_type"] == "full"
    )  # of the connection
