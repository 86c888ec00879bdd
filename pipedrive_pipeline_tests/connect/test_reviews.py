"""What a person reviews through the API: held deletions, rejected values, runs to cancel."""

from __future__ import annotations

import csv
import io

import httpx
import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.connect.tenants import FilledTenant, client_with, filled_tenant

HELD = """
insert into integration.held_deletions (tenant_id, system, entity, known, gone, sample)
values ('acme', 'pipedrive', 'organizations', 733, 214, array['1', '2'])
"""
CONFIRMED = {"decision": "confirmed"}
REJECTED = """
insert into integration.rejected_values
    (tenant_id, system, entity, record_id, field, value, reason)
values (
    'acme', 'pipedrive', 'organizations', '17', 'aaa', '=cmd|''/C calc''!A0', 'is no number'
)
"""


@pytest.fixture
def tenant(site: ConnectSite) -> FilledTenant:
    filled = filled_tenant(site, "acme", 1)
    site.world.execute("delete from integration.sync_requests")
    return filled


@pytest.fixture
def manager(site: ConnectSite, tenant: FilledTenant) -> httpx.Client:
    return client_with(site, tenant.keys[Role.MANAGER])


def test_held_deletions_are_shown_with_examples_and_confirmed(
    site: ConnectSite, tenant: FilledTenant, manager: httpx.Client
) -> None:
    """The sweep that marks them is asked for in the same transaction."""
    site.world.execute(HELD)
    (held,) = manager.get(f"{ROUTES}/deletions").json()["data"]
    decision = {"decision": "confirmed", "foundAt": held["foundAt"]}

    answer = manager.put(f"{ROUTES}/deletions/organizations", json=decision)

    assert (held["gone"], held["known"], held["decision"]) == (214, 733, None)
    assert [(example["id"], example["name"]) for example in held["examples"]] == [
        ("1", tenant.word)
    ]
    assert (answer.status_code, answer.json()["data"]["decision"]) == (200, "confirmed")
    assert site.world.rows("select sync_type, state from integration.sync_requests") == [
        {"sync_type": "sweep", "state": "queued"}
    ]


RUNNING = """
insert into integration.sync_requests (tenant_id, system, sync_type, trigger, state)
values ('acme', 'pipedrive', %s, 'manual', 'running')
"""


@pytest.mark.parametrize("sync_type", ["sweep", "remap"])
def test_a_run_that_has_begun_does_not_answer_the_request_that_follows_a_change(
    site: ConnectSite, manager: httpx.Client, sync_type: str
) -> None:
    """It had read the former mapping, or no confirmation; nothing was asked for after it."""
    site.world.execute(RUNNING, sync_type)
    site.world.execute(HELD)
    (held,) = manager.get(f"{ROUTES}/deletions").json()["data"]
    path, change = {
        "sweep": ("deletions/organizations", {**CONFIRMED, "foundAt": held["foundAt"]}),
        "remap": ("field-mapping", {"version": 1, "mapping": {}}),
    }[sync_type]

    assert manager.put(f"{ROUTES}/{path}", json=change).status_code == 200

    states = site.world.rows("select sync_type, state from integration.sync_requests order by 2")
    assert states == [
        {"sync_type": sync_type, "state": "queued"},
        {"sync_type": sync_type, "state": "running"},
    ]


def test_only_what_was_seen_can_be_decided(site: ConnectSite, manager: httpx.Client) -> None:
    """A newer sweep may have found others; nothing is asked for either."""
    site.world.execute(HELD)
    decision = {"decision": "confirmed", "foundAt": "2026-01-01T00:00:00Z"}

    stale = manager.put(f"{ROUTES}/deletions/organizations", json=decision)
    none = manager.put(f"{ROUTES}/deletions/persons", json=decision)

    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "decided_meanwhile")
    assert none.status_code == 404
    assert site.world.rows("select id from integration.sync_requests") == []


def test_rejected_values_are_a_list_and_a_file_without_formulas(
    site: ConnectSite, tenant: FilledTenant, manager: httpx.Client
) -> None:
    """A spreadsheet would run a cell that begins with an equals sign."""
    site.world.execute(REJECTED)

    listed = manager.get(f"{ROUTES}/rejected-values").json()["data"]
    file = manager.get(f"{ROUTES}/rejected-values.csv")

    (row,) = csv.DictReader(io.StringIO(file.text.removeprefix("\ufeff")))
    assert [(value["recordId"], value["fieldName"]) for value in listed] == [("17", tenant.word)]
    assert (row["value"], row["field_name"]) == ("'=cmd|'/C calc'!A0", tenant.word)
    assert file.headers["content-type"] == "text/csv; charset=utf-8"


def test_a_waiting_request_is_cancelled_and_a_run_that_ended_stays_as_it_is(
    tenant: FilledTenant, manager: httpx.Client
) -> None:
    asked = manager.post(f"{ROUTES}/sync", json={"syncType": "remap"}).json()["data"]

    cancelled = manager.post(f"{ROUTES}/sync/history/{asked['id']}/cancel")
    ended = manager.post(f"{ROUTES}/sync/history/{tenant.ids['run_id']}/cancel")

    assert cancelled.json()["data"]["status"] == "cancelled"
    assert ended.json()["data"]["status"] == "partial"
    assert manager.get(f"{ROUTES}/sync/requests/{asked['id']}").json()["data"]["state"] == (
        "cancelled"
    )


def test_the_price_of_each_kind_is_told_without_a_call(manager: httpx.Client) -> None:
    """A rebuild costs nothing; a sweep lists every entity that it would read."""
    prices = {
        kind: manager.post(f"{ROUTES}/sync?dryRun=true", json={"syncType": kind}).json()["data"]
        for kind in ("remap", "sweep")
    }

    assert (prices["remap"]["tokens"], prices["remap"]["entities"]) == (0, {})
    assert prices["sweep"]["entities"]["persons"] > 0
