"""The eight scenarios of a CRM connection, one test each, on a connection by consent.

connect, refresh, full sync, incremental sync, error recovery, duplicates, mapping, disconnect.
"""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread

import pytest

from pipedrive_pipeline.errors import NotConnected, SourceUnavailable, Superseded
from pipedrive_pipeline.marts import mapping
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox
from pipedrive_pipeline.sandbox import seeded as account_of
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.vault.disconnect import disconnect
from pipedrive_pipeline_tests.scenarios.consenting import consent, expire, vault_of, with_app
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World, world_at

PERSONS = "/api/v2/persons"
TOKENS = "/oauth/token"


@pytest.fixture
def account() -> CrmAccount:
    """Three pages of persons, so that there is a middle."""
    return account_of(30, 1_200)


@pytest.fixture
def world(database_url: str, tmp_path: Path, sandbox: Sandbox) -> World:
    """Tenant acme, connected by consent and never synced."""
    world = with_app(world_at(database_url, tmp_path), sandbox)
    consent(world, ACME)
    return world


def state(world: World) -> dict[str, object]:
    (row,) = world.rows("integration", "connections", "created_at")
    return row


def refreshes(sandbox: Sandbox) -> int:
    """Calls of the token endpoint after the call that brought the first pair."""
    return len(list(sandbox.requests.of(TOKENS))) - 1


@pytest.mark.slow
def test_connect(world: World, sandbox: Sandbox) -> None:
    """The company's name is stored, the tokens are encrypted, and the first sync is queued."""
    connection_state = state(world)
    (asked,) = world.rows("integration", "sync_requests")

    assert (connection_state["state"], connection_state["company_name"]) == (
        "connected",
        sandbox.account.company_name,
    )
    assert "." in str(connection_state["refresh_token"])
    assert (asked["sync_type"], asked["trigger"], asked["state"]) == ("full", "connect", "queued")
    assert world.history() == []


@pytest.mark.slow
def test_refresh(world: World, sandbox: Sandbox) -> None:
    """A token may end before a run and within one; either costs one refresh and no row."""
    expire(world)
    sandbox.faults.before(2, sandbox.grants.expire_access_tokens, path=PERSONS)

    world.sync(sync_type="full")

    assert refreshes(sandbox) == 2
    assert state(world)["state"] == "connected"
    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_full_sync(world: World, sandbox: Sandbox) -> None:
    """Everything arrives, value by value; the history says how much."""
    world.sync(sync_type="full")

    assert_all_equals_source(world, sandbox)
    (row,) = world.history()
    live = len(list(sandbox.truth("persons")))
    assert (row["status"], row["persons_fetched"], row["persons_created"]) == (
        "success",
        live,
        live,
    )


@pytest.mark.slow
def test_incremental_sync(world: World, sandbox: Sandbox, account: CrmAccount) -> None:
    """A new record, an edit and a move arrive, and nothing else is requested or written."""
    world.sync(sync_type="full")
    organization = account.create("organizations", name="Nordlicht Windkraft GmbH")
    account.edit("persons", 17, org_id=organization["id"])
    account.create("persons", name="Änne Müller", org_id=organization["id"])
    calls_before = sandbox.requests.count

    synced = world.sync()

    assert sandbox.requests.count - calls_before == 5
    assert (synced.built.counts["customers"].created, synced.built.counts["contacts"].created) == (
        1,
        1,
    )
    assert synced.built.counts["contacts"].updated == 1
    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_error_recovery(world: World, sandbox: Sandbox) -> None:
    """A source that breaks in the middle leaves the last good tables; the next run mends it."""
    world.sync(sync_type="full")
    before = world.rows("crm", "contacts")
    sandbox.account.edit_many("persons", range(1, 1_001), job_title="Vertrieb")
    sandbox.faults.add("html_503", after=1, times=4, path=PERSONS)

    with pytest.raises(SourceUnavailable):
        world.sync()
    broken = world.rows("crm", "contacts")
    world.sync()

    assert broken == before
    assert [row["status"] for row in world.history()][-2:] in (
        ["failed", "success"],
        ["partial", "success"],
    )
    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_duplicates(world: World, sandbox: Sandbox, account: CrmAccount) -> None:
    """Twice read, twice connected: one row. Two people of one name and address: two rows."""
    for _ in range(2):
        address = {"value": "max@example.com", "primary": True, "label": "work"}
        account.create("persons", name="Max Mustermann", emails=[address])
    account.edit_many("persons", range(1, 1_001), job_title="Einkauf")  # fills two pages
    world.sync(sync_type="full")
    first = {row["pipedrive_id"]: row["id"] for row in world.rows("crm", "contacts")}
    disconnect(vault_of(world), Scope(ACME, SYSTEM), who="a test")
    consent(world, ACME)

    world.sync()
    world.sync(sync_type="full")

    rows = world.rows("crm", "contacts")
    assert {row["pipedrive_id"]: row["id"] for row in rows} == first
    assert len(rows) == len(first)
    assert len([row for row in rows if row["name"] == "Max Mustermann"]) == 2
    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_mapping(world: World, sandbox: Sandbox, account: CrmAccount) -> None:
    """A custom field fills a column in every row, and goes on doing so after a reconnect."""
    world.sync(sync_type="full")
    number = account.fields["organizations"].named("Kundennummer").code
    text = {"organizations": {number: "customer_number"}}
    mapping.save(world.warehouse, Scope(ACME, SYSTEM), text, who="a test")
    disconnect(vault_of(world), Scope(ACME, SYSTEM), who="a test")
    consent(world, ACME)

    world.sync()

    numbers = {
        row["pipedrive_id"]: row["customer_number"] for row in world.rows("crm", "customers")
    }
    sent = {row["id"]: row["custom_fields"][number] for row in sandbox.truth("organizations")}
    assert numbers == sent
    assert any(sent.values())


@pytest.mark.slow
def test_disconnect(world: World, sandbox: Sandbox) -> None:
    """A running sync ends within 30 s, the tokens are gone at both ends, the rows stay."""
    world.sync(sync_type="full")
    before = world.rows("crm", "contacts")
    vault, events = vault_of(world), []
    end = Thread(target=lambda: events.append(disconnect(vault, Scope(ACME, SYSTEM), who="a test")))
    sandbox.faults.before(1, end.start, path=PERSONS)
    sandbox.faults.add("slow", after=1, seconds=3, path=PERSONS)  # the second page comes after it

    began = time.monotonic()
    with pytest.raises(Superseded):
        world.sync(sync_type="full")
    took_seconds = time.monotonic() - began
    end.join()
    calls = sandbox.requests.count
    with pytest.raises(NotConnected):
        world.sync()

    assert took_seconds < 30
    assert events[0].is_revoked
    connection_state = state(world)
    assert (
        connection_state["state"],
        connection_state["access_token"],
        connection_state["refresh_token"],
    ) == (
        "disconnected",
        None,
        None,
    )
    assert sandbox.requests.count == calls
    assert world.rows("crm", "contacts") == before
    assert world.history()[-2]["errors"][-1]["code"] == "superseded"
