"""Two systems in one installation, for the same tenant: neither is in the other's way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from pipedrive_pipeline.cli.session import CommandSession, dagster_environment
from pipedrive_pipeline.defs import sensors
from pipedrive_pipeline.defs.location import LOCATION
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline.sync.tenancy.person_erasure import erase_records, find_by_address
from pipedrive_pipeline_tests.orbit.lookalike import OrbitSandbox, serve_orbit
from pipedrive_pipeline_tests.orbit.world import ODD_KEYS, seeded_orbit
from pipedrive_pipeline_tests.scenarios.two_systems import (
    ORBIT_KEY,
    PIPEDRIVE,
    SYSTEMS,
    TwoSystems,
    environment,
    installation,
    world_of_environment,
)
from pipedrive_pipeline_tests.scenarios.world import ACME

pytestmark = pytest.mark.slow
EMAIL = "ada@canary7f3a.example"
REBUILDS: tuple[SyncType, ...] = ("remap", "verify")


@pytest.fixture
def pipedrive() -> Iterator[Sandbox]:
    with serve(seeded(20, 40)) as running:
        yield running


@pytest.fixture
def orbit() -> Iterator[OrbitSandbox]:
    with serve_orbit(seeded_orbit()) as running:
        yield running


@pytest.fixture
def both(
    database_url: str,
    tmp_path: Path,
    pipedrive: Sandbox,
    orbit: OrbitSandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[TwoSystems]:
    """Acme, known and not yet connected, with both systems' apps in the settings."""
    for name, value in environment(database_url, tmp_path, pipedrive, orbit).items():
        monkeypatch.setenv(name, value)
    world = world_of_environment(database_url)
    registry.add(world.warehouse, world.settings, ACME)
    with installation(world, pipedrive, orbit) as running:
        yield running


@pytest.fixture
def synced(both: TwoSystems) -> TwoSystems:
    """Acme, connected to both by consent and read whole."""
    for system in SYSTEMS:
        assert both.consent(system).status_code == 303
    both.sync("full")
    return both


def test_both_systems_are_read_side_by_side(synced: TwoSystems) -> None:
    """Equal ids are other records, ids may be any text, and links stay within one system (G5)."""
    contacts = {system: synced.live("contacts", system) for system in SYSTEMS}
    customers = synced.live("customers", ORBIT_KEY)
    users = synced.live("users", ORBIT_KEY)

    assert set(contacts[ORBIT_KEY]) == {row["key"] for row in synced.orbit.truth("people")}
    assert set(contacts[PIPEDRIVE]) == {str(row["id"]) for row in synced.pipedrive.truth("persons")}
    assert {"1", "2", "3"} <= contacts[ORBIT_KEY].keys() & contacts[PIPEDRIVE].keys()
    assert set(customers) == set(ODD_KEYS)
    person = contacts[ORBIT_KEY]["1"]
    assert person["name"] == "Given 1 Orbit"
    assert (person["customer_id"], person["customer_remote_id"]) == (
        customers["A-9"]["id"],
        "A-9",
    )
    assert (person["owner_id"], person["owner_name"]) == (users["900"]["id"], "Same Number")
    assert person["pipedrive_id"] is None
    assert contacts[PIPEDRIVE]["1"]["pipedrive_id"] == 1
    assert all(row["pipedrive_id"] is None for row in customers.values())


def test_an_apps_records_are_written_to_the_system_that_is_named(synced: TwoSystems) -> None:
    """By its declaration alone: text keys, a tag that finds a lost create, invitations."""
    routes = "/api/v1/integrations/crm"
    pipedrive_calls = len(synced.pipedrive.requests)
    synced.orbit.faults.add("lost_answer", path="/v3/accounts")
    sent = {
        "platform": ORBIT_KEY,
        "customer": {
            "external_key": "o-1",
            "fields": {"name": "Orbit Ltd", "custom_fields": {"Tone": "Blue"}},
        },
        "appointment": {
            "external_key": "m-1",
            "fields": {"subject": "Visit", "due_date": "2026-12-01"},
        },
        "notify": True,
    }
    headers = {"idempotency-key": "one"}
    with synced.operator() as app:
        app.put(f"/api/integrations/{ORBIT_KEY}/sync-config", json={"writesAllowed": ["all"]})
        platforms = app.get(f"{routes}/platforms").json()["data"]
        answers = [
            app.post(f"{routes}/sync-appointment", json=sent, headers=headers) for _ in range(2)
        ]
        person = {"external_key": "p", "fields": {"last_name": "Y"}}
        both = app.post(
            f"{routes}/sync-customer",
            json={"platform": ORBIT_KEY, "contact": person, "customer": sent["customer"]},
        )
        lead = app.post(
            f"{routes}/sync-lead",
            json={"platform": ORBIT_KEY, "lead": {"external_key": "x", "fields": {"title": "x"}}},
        )

    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
    supported = {each["platform"]: each for each in platforms}[ORBIT_KEY]
    (account,) = [row for row in synced.orbit.truth("accounts") if row["title"] == "Orbit Ltd"]
    (meeting,) = [row for row in synced.orbit.truth("meetings") if row["title"] == "Visit"]
    data = [answer.json()["data"] for answer in answers]
    assert data[0] == data[1]
    assert data[0]["invitation"] == {"was_sent": True, "reason": ""}
    assert synced.orbit.orbit.invited == [meeting["key"]]
    assert meeting["account"] == account["key"]
    assert account["props"] == {"tone": "c2"}
    assert data[0]["customer"]["id"] == f"{ORBIT_KEY}:{account['key']}"
    assert synced.rows("customers", ORBIT_KEY)[account["key"]]["name"] == "Orbit Ltd"
    assert both.json()["data"]["contact"]["data"]["org_id"] == data[0]["customer"]["data"]["id"]
    assert (lead.status_code, lead.json()["error"]["code"]) == (405, "not_supported_by_system")
    assert (
        supported["sends_invitations"],
        supported["operations"]["sync_lead"]["is_supported"],
    ) == (
        True,
        False,
    )
    assert len(synced.pipedrive.requests) == pipedrive_calls


def test_changes_and_removals_of_one_system_leave_the_others_rows(synced: TwoSystems) -> None:
    before = synced.rows("customers", PIPEDRIVE)
    synced.orbit.orbit.put("accounts", "A-9", title="Renamed")
    synced.orbit.orbit.remove("accounts", "17", reason="merged", into="0017")
    synced.orbit.orbit.remove("people", "3")
    synced.orbit.orbit.put("people", "77", given="New", family="One", account="17", props={})

    synced.world.sync(system=ORBIT_KEY)

    customers, contacts = (synced.rows(mart, ORBIT_KEY) for mart in ("customers", "contacts"))
    assert customers["A-9"]["name"] == "Renamed"
    assert customers["17"]["deletion_reason"] == "merged"
    assert customers["17"]["merged_into_remote_id"] == "0017"
    assert contacts["3"]["deletion_reason"] == "deleted"
    assert contacts["77"]["customer_id"] == customers["0017"]["id"]
    assert synced.rows("customers", PIPEDRIVE) == before


def test_lists_of_parents_follow_the_parents_that_changed(synced: TwoSystems) -> None:
    raw = Scope(ACME, ORBIT_KEY).raw_schema
    synced.orbit.orbit.put("notes", "n-1", account="A-9", text="Changed")
    synced.orbit.orbit.put("notes", "n-100", account="A-9", text="Added")
    synced.orbit.orbit.remove("notes", "n-0")
    synced.orbit.orbit.put("accounts", "A-9", title="Touched")
    synced.orbit.orbit.put("accounts", "0017", title="Touched")

    synced.world.sync(system=ORBIT_KEY)

    texts = {row["key"]: row["text"] for row in synced.world.rows(raw, "notes", "key")}
    gone = {(row["entity"], row["id"]) for row in synced.world.rows(raw, "deletions", "id")}
    assert texts["n-1"] == "Changed"
    assert texts["n-100"] == "Added"
    assert ("notes", "n-0") in gone


def test_an_expired_token_reads_everything_again_with_what_is_gone(synced: TwoSystems) -> None:
    """What was removed before the token expired is in no page any more (G7)."""
    synced.orbit.orbit.remove("people", "3")
    synced.orbit.orbit.put("people", "4", given="Still", family="Here")
    synced.orbit.orbit.forget()

    synced.world.sync(system=ORBIT_KEY)

    contacts = synced.rows("contacts", ORBIT_KEY)
    assert contacts["3"]["deleted_at"] is not None
    assert contacts["4"]["name"] == "Still Here"
    assert contacts.keys() - synced.live("contacts", ORBIT_KEY).keys() == {"3"}


def test_sweep_remap_and_verify_work_for_both(synced: TwoSystems) -> None:
    calls = [len(synced.look_alike(system).requests) for system in SYSTEMS]
    with synced.world.warehouse.transaction() as connection:
        connection.execute("update crm.contacts set name = 'Edited' where remote_id = '1'")

    for sync_type in REBUILDS:
        for system in SYSTEMS:
            with synced.world.run(sync_type=sync_type, system=system) as run:
                run.build_marts()
                run.publish_views()
                run.assert_proven(run.field_facts())
    calls_of_rebuilds = [len(synced.look_alike(system).requests) for system in SYSTEMS]
    swept = [synced.world.sync(sync_type="sweep", system=system) for system in SYSTEMS]

    assert calls_of_rebuilds == calls
    assert all(read.is_complete for run in swept for read in run.reads.values())
    assert synced.live("contacts", ORBIT_KEY)["1"]["name"] == "Given 1 Orbit"
    assert synced.live("contacts", PIPEDRIVE)["1"]["name"] != "Edited"


def test_a_person_is_erased_in_both_systems_and_stays_out(synced: TwoSystems) -> None:
    """One address, two systems: everything that any of them stored of it is gone."""
    synced.pipedrive.account.edit("persons", 30, emails=[{"value": EMAIL, "primary": True}])
    synced.orbit.orbit.put("people", "7", mail=EMAIL)
    synced.sync()

    matches = find_by_address(synced.world.warehouse, ACME, EMAIL)
    with tenant_lock(synced.world.warehouse, ACME) as lock:
        erase_records(lock, synced.world.settings, matches.records, who="a test")
    synced.sync("full")

    assert {str(record) for record in matches.records} == {
        "orbit people 7",
        "pipedrive persons 30",
    }
    assert not find_by_address(synced.world.warehouse, ACME, EMAIL).records
    assert "7" not in synced.rows("contacts", ORBIT_KEY)
    assert "30" not in synced.rows("contacts", PIPEDRIVE)
    assert "7" in synced.rows("contacts", PIPEDRIVE)


def test_a_system_that_is_disconnected_keeps_its_rows_and_the_other_goes_on(
    synced: TwoSystems,
) -> None:
    rows = synced.rows("contacts", ORBIT_KEY)
    with synced.operator() as operator:
        ended = operator.delete(f"/api/integrations/{ORBIT_KEY}/disconnect")

    synced.pipedrive.account.edit("persons", 3, name="Nach dem Trennen")
    synced.world.sync(system=PIPEDRIVE)

    assert ended.status_code == 200
    assert not synced.orbit.grants.pairs()
    assert synced.states() == {PIPEDRIVE: "connected", ORBIT_KEY: "disconnected"}
    assert synced.rows("contacts", ORBIT_KEY) == rows
    assert synced.live("contacts", PIPEDRIVE)["3"]["name"] == "Nach dem Trennen"


def test_another_company_of_one_system_leaves_the_others_rows(synced: TwoSystems) -> None:
    pipedrive_rows = synced.rows("contacts", PIPEDRIVE)
    synced.orbit.orbit.company_id = "orb-2"

    answer = synced.consent(ORBIT_KEY, is_other_company=True)
    synced.world.sync(system=ORBIT_KEY, sync_type="full")

    former = synced.former("contacts", ORBIT_KEY)
    assert answer.status_code == 303
    assert {row["deletion_reason"] for row in former.values()} == {"company_changed"}
    assert former.keys() == synced.live("contacts", ORBIT_KEY).keys()
    assert synced.rows("contacts", PIPEDRIVE) == pipedrive_rows
    assert set(synced.live("contacts", ORBIT_KEY)) == {
        row["key"] for row in synced.orbit.truth("people")
    }


def test_an_entity_that_the_plan_lacks_is_skipped_and_the_marts_are_built(
    synced: TwoSystems,
) -> None:
    """Its rows stay and are not taken for deleted; history and status say why (G8)."""
    raw = Scope(ACME, ORBIT_KEY).raw_schema
    synced.orbit.orbit.lacking.add("campaigns")
    synced.orbit.orbit.put("people", "4", given="After", family="All")

    synced.world.sync(system=ORBIT_KEY, sync_type="full")

    entities = synced.run_entities(ORBIT_KEY)
    assert entities["campaigns"]["status"] == "skipped"
    assert "402" in entities["campaigns"]["reason"]
    assert {row["status"] for name, row in entities.items() if name != "campaigns"} == {"complete"}
    assert [row["key"] for row in synced.world.rows(raw, "campaigns", "key")] == ["spring"]
    assert not [
        row for row in synced.world.rows(raw, "deletions", "id") if row["entity"] == "campaigns"
    ]
    assert synced.live("contacts", ORBIT_KEY)["4"]["name"] == "After All"


def test_a_token_goes_to_the_hosts_of_its_own_system_only(both: TwoSystems) -> None:
    """A host that one system may use is not allowed for another (G6)."""
    both.orbit.orbit.home = both.pipedrive.url

    with pytest.raises(KeyError):
        both.consent(ORBIT_KEY)

    assert both.states() == {}
    assert len(both.pipedrive.requests) == 0


def test_an_uninstall_notice_of_one_system_needs_its_own_secret(synced: TwoSystems) -> None:
    """Neither app's secret ends a connection of the other system (G6)."""
    secrets = {
        system: (server.client_id, server.client_secret)
        for system in SYSTEMS
        for server in [synced.look_alike(system)]
    }
    account = synced.pipedrive.account
    notice = {
        "client_id": synced.pipedrive.client_id,
        "company_id": account.company_id,
        "user_id": account.admin_id,
        "timestamp": account.clock.stamp(),
    }

    answers = [
        httpx.request(
            "DELETE",
            f"{synced.app_url}/api/integrations/{system}/callback",
            json=notice,
            auth=secrets[other],
        )
        for system, other in ((ORBIT_KEY, PIPEDRIVE), (PIPEDRIVE, ORBIT_KEY))
    ]

    assert all(answer.status_code >= 400 for answer in answers)
    assert synced.states() == dict.fromkeys(SYSTEMS, "connected")


def test_views_show_the_custom_fields_of_both(synced: TwoSystems) -> None:
    """The second system's first sync once removed the first one's columns for good (G3)."""
    names = {
        field.name for field in synced.pipedrive.account.fields["organizations"] if field.is_custom
    }
    columns = synced.view_columns("customers")
    synced.sync()
    rows = synced.query("select system, tone, score from analytics_acme.customers")

    assert {"tone", "score"} <= columns
    assert len(columns) > len(names)
    assert synced.view_columns("customers") == columns
    assert {row["tone"] for row in rows if row["system"] == ORBIT_KEY} == {"Red", "Blue"}
    assert {row["score"] for row in rows if row["system"] == PIPEDRIVE} == {None}


@pytest.fixture
def instance(both: TwoSystems, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Our own Dagster instance, with acme as a partition."""
    session = CommandSession(both.world.settings, both.world.warehouse)
    for name, value in dagster_environment(session).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("tenants", [ACME.slug])
        yield instance


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """The metadata of each asset that a run materialized."""
    return {
        event.asset_key.to_user_string(): {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def launch(instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """Runs what a sensor or schedule asks for, in this process."""
    job = LOCATION.resolve_job_def(request.job_name or "sync")
    return job.execute_in_process(
        instance=instance,
        partition_key=request.partition_key,
        tags=dict(request.tags),
        asset_selection=list(request.asset_selection or ()),
        raise_on_error=False,
    )


def test_a_partition_syncs_every_connected_system_and_builds_the_marts(
    synced: TwoSystems, instance: dg.DagsterInstance
) -> None:
    """Equal names of entities are told apart by their system (G1, G2, G4)."""
    result = LOCATION.resolve_job_def("full_resync").execute_in_process(
        instance=instance, partition_key=ACME.slug, raise_on_error=False
    )

    assets = materialized(result)
    runs = synced.query("select system, status from integration.sync_logs order by started_at")
    assert result.success
    assert assets["orbit/users"]["rows_fetched"] == 3
    assert assets["pipedrive/users"]["rows_fetched"] == 5
    assert {"orbit/people", "orbit/notes", "pipedrive/persons", "crm/users"} <= assets.keys()
    assert [row["status"] for row in runs[-2:]] == ["success", "success"]
    assert {row["system"] for row in runs[-2:]} == set(SYSTEMS)


def test_a_system_that_is_not_connected_keeps_no_mart_from_being_built(
    both: TwoSystems, instance: dg.DagsterInstance
) -> None:
    """Dagster skips what depends on an asset that was not emitted; ours must not (G1)."""
    both.consent(PIPEDRIVE)

    result = LOCATION.resolve_job_def("full_resync").execute_in_process(
        instance=instance, partition_key=ACME.slug, raise_on_error=False
    )

    assets = materialized(result)
    assert result.success
    assert {"crm/customers", "crm/contacts", "analytics/customers"} <= assets.keys()
    assert not [name for name in assets if name.startswith("orbit/")]
    assert both.live("contacts", PIPEDRIVE)


def test_requests_and_schedules_carry_their_system(
    both: TwoSystems, instance: dg.DagsterInstance
) -> None:
    """A request of one system reads that system, and no other (G4)."""
    for system in SYSTEMS:
        both.consent(system)

    tick = sensors.sync_requests(dg.build_sensor_context(instance=instance))
    assert isinstance(tick, dg.SensorResult)
    requests = {request.tags["pipeline/system"]: request for request in tick.run_requests or ()}
    before = len(both.pipedrive.requests)
    result = launch(instance, requests[ORBIT_KEY])

    assert set(requests) == set(SYSTEMS)
    assert result.success
    assert {name.split("/")[0] for name in materialized(result)} == {
        ORBIT_KEY,
        "crm",
        "analytics",
    }
    assert len(both.pipedrive.requests) == before
