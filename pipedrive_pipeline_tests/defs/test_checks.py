"""Checks that an operator sees: where they stand, when they are made, and what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import dagster as dg
import pytest

from pipedrive_pipeline.defs.freshness import freshness_sensor
from pipedrive_pipeline.defs.location import LOCATION
from pipedrive_pipeline.defs.tenant_summary import SUMMARY_CHECKS
from pipedrive_pipeline.sandbox import CrmAccount, seeded, serve
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.scenarios.receiver import receiver
from pipedrive_pipeline_tests.scenarios.world import ACME, World

WALKED = {"pipedrive/organizations", "pipedrive/persons"}
ALWAYS_WHOLE = {f"pipedrive/{name}" for name in ("users", "organization_fields", "person_fields")}


def evaluated(
    instance: dg.DagsterInstance, job: str, tenant: str = "acme"
) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    """Every check that a run of this job made, by asset and name."""
    done = LOCATION.resolve_job_def(job).execute_in_process(
        instance=instance, partition_key=tenant, raise_on_error=False
    )
    assert done.success
    return {
        (evaluation.asset_key.to_user_string(), evaluation.check_name): evaluation
        for evaluation in done.get_asset_check_evaluations()
    }


def test_every_check_says_how_bad_it_is_and_what_to_do() -> None:
    graph = LOCATION.resolve_asset_graph()

    descriptions = {key: graph.get(key).description or "" for key in graph.asset_check_keys}

    assert {key.name for key in descriptions} >= {"completeness", "retyped_fields", "all_tenants"}
    for key, description in descriptions.items():
        assert description.startswith(("Error where", "Warning where")), key
        assert "What to do: " in description, key


@pytest.mark.slow
def test_every_check_has_a_result_after_each_run(instance: dg.DagsterInstance) -> None:
    """Dagster shows one as not evaluated if its asset is newer: freshness was, after every run."""
    built = {f"{layer}/{name}" for layer in ("crm", "analytics") for name in ("users", "contacts")}
    assets = ALWAYS_WHOLE | WALKED | built
    graph = LOCATION.resolve_asset_graph()
    known = {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys}

    full, changes = evaluated(instance, "full_resync"), evaluated(instance, "sync")

    expected = {(asset, name) for asset, name in known if asset in assets}
    assert {key for key in full if key[0] in assets} == expected
    assert changes.keys() == full.keys()
    assert ("pipedrive/organization_fields", "freshness") in changes
    assert all(result.passed for (_, name), result in full.items() if name == "completeness")
    assert "compared_at" in changes["pipedrive/persons", "completeness"].metadata


@pytest.mark.slow
def test_a_tenant_that_fails_a_check_is_listed_after_the_next_tenants_run(
    world: World, instance: dg.DagsterInstance, account: CrmAccount
) -> None:
    """Dagster shows the newest result of a check: beta's, which passed, hid that of acme."""
    account.plant("persons", 3, owner_id="nobody")
    instance.add_dynamic_partitions("tenants", ["beta"])
    with serve(seeded(3, 5)) as other:
        world.connect(Tenant("beta"), other)
        of_acme = evaluated(instance, "sync")
        of_beta = evaluated(instance, "sync", "beta")

    by_hand = over_all_tenants(instance)

    assert not of_acme["pipedrive/persons", "rejected_values"].passed
    assert of_beta["pipedrive/persons", "rejected_values"].passed
    for summary in (of_beta["pipedrive/persons", "all_tenants"], by_hand["pipedrive/persons"]):
        assert not summary.passed
        assert summary.severity is dg.AssetCheckSeverity.WARN
        assert summary.metadata["tenants"].value == 2
        assert summary.metadata["offenders"].value == (
            "acme/pipedrive rejected_values: count 1; offenders owner_id: 1"
        )
    assert by_hand["pipedrive/organizations"].passed


@pytest.mark.slow
def test_with_partitioned_checks_each_tenant_keeps_its_own_result(
    instance: dg.DagsterInstance,  # noqa: ARG001 - its storage, in this process's environment
) -> None:
    """In a process of its own, since the setting is read when the assets are defined."""
    script = (
        "import dagster as dg\n"
        "from pipedrive_pipeline.defs.location import LOCATION\n"
        "with dg.DagsterInstance.get() as instance:\n"
        "    done = LOCATION.resolve_job_def('sync').execute_in_process(\n"
        "        instance=instance, partition_key='acme')\n"
        "results = done.get_asset_check_evaluations()\n"
        "of_all = {'all_tenants', 'freshness', 'near_real_time'}\n"
        "print({(r.check_name in of_all, r.partition) for r in results})\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", script],
        env={**os.environ, "PARTITIONED_CHECKS": "on"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.strip() in {
        "{(False, 'acme'), (True, None)}",
        "{(True, None), (False, 'acme')}",
    }, done.stderr[-3000:]


def over_all_tenants(instance: dg.DagsterInstance) -> dict[str, dg.AssetCheckEvaluation]:
    """The checks of all tenants by asset, as they are started from the UI."""
    job = LOCATION.resolve_implicit_global_asset_job_def().get_subset(
        asset_check_selection=set(SUMMARY_CHECKS)
    )
    done = job.execute_in_process(instance=instance)
    return {
        evaluation.asset_key.to_user_string(): evaluation
        for evaluation in done.get_asset_check_evaluations()
    }


@pytest.mark.slow
def test_a_record_without_a_usable_id_and_a_value_of_another_type_warn_with_their_count(
    instance: dg.DagsterInstance, account: CrmAccount
) -> None:
    """They are in no table of records, so that nothing else would say that they are missing."""
    for number in (1, 2):
        account.plant("persons", number, id=None)
    account.plant("persons", 3, owner_id="nobody")

    checks = evaluated(instance, "full_resync")

    rejected = checks["pipedrive/persons", "rejected_values"]
    assert not rejected.passed
    assert rejected.severity is dg.AssetCheckSeverity.WARN
    assert rejected.metadata["count"].value == 3
    assert rejected.metadata["offenders"].value == ["id: 2", "owner_id: 1"]
    assert checks["pipedrive/organizations", "rejected_values"].passed


@pytest.mark.slow
def test_a_great_drop_and_hidden_companies_warn_and_stop_nothing(
    world: World, instance: dg.DagsterInstance
) -> None:
    """The seeded account has persons of an organization that its reader may not see."""
    evaluated(instance, "full_resync")
    with world.warehouse.transaction() as connection:
        connection.execute("update crm.customers set created_at = now() - interval '30 days'")
        connection.execute(
            "insert into crm.customers"
            " (tenant_id, system, remote_id, name, created_at, deleted_at)"
            " select 'acme', 'pipedrive', (100000 + n)::text, 'gone',"
            " now() - interval '30 days', now()"
            " from generate_series(1, 60) as n"
        )

    results = evaluated(instance, "remap")

    volume = results["crm/customers", "volume"]
    assert not volume.passed
    assert volume.severity is dg.AssetCheckSeverity.WARN
    assert volume.metadata["live_rows_a_week_ago"].value == 80
    assert results["crm/contacts", "volume"].passed
    orphans = results["crm/contacts", "orphans"]
    assert not orphans.passed
    assert orphans.severity is dg.AssetCheckSeverity.WARN
    assert orphans.metadata["count"].value == len(world.rows("crm", "contacts")) - len(
        linked(world)
    )


def linked(world: World) -> list[dict[str, Any]]:
    """Contacts that have a customer, or whose person names no organization."""
    lone = {row["id"] for row in world.raw(ACME, "persons") if row["org_id"] is None}
    contacts = world.rows("crm", "contacts")
    return [row for row in contacts if row["customer_id"] or row["pipedrive_id"] in lone]


@pytest.mark.slow
def test_an_overdue_tenant_is_reported_once_and_again_only_when_that_changes(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon stood still for a night: the check is red, and the operator knows."""
    with world.warehouse.transaction() as connection:
        connection.execute(
            "update integration.connections set connected_at = now() - interval '3 days'"
        )
    with receiver() as (address, arrived):
        monkeypatch.setenv("ALERT_URLS", address)
        first = freshness_sensor(dg.build_sensor_context(instance=instance))
        assert isinstance(first, dg.SensorResult)
        again = freshness_sensor(dg.build_sensor_context(instance=instance, cursor=first.cursor))
    assert LOCATION.resolve_job_def("sync").execute_in_process(
        instance=instance, partition_key="acme"
    )
    healed = freshness_sensor(dg.build_sensor_context(instance=instance, cursor=first.cursor))

    event, *_ = first.asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert not event.passed
    assert event.metadata["overdue"].value == 1
    assert "acme/pipedrive: due " in str(event.metadata["offenders"].value)
    assert isinstance(again, dg.SkipReason)
    assert [alert["title"] for alert in arrived] == ["acme: overdue, a person must act"]
    assert isinstance(healed, dg.SensorResult)
    assert all(event.passed for event in healed.asset_events)  # type: ignore[union-attr]


@pytest.mark.slow
def test_verify_is_a_job_whose_check_says_how_many_rows_were_healed(
    world: World, instance: dg.DagsterInstance
) -> None:
    """A warning for who writes to our tables; the next comparison takes it back."""
    world.sync()
    with world.warehouse.transaction() as connection:
        connection.execute("delete from crm.contacts where pipedrive_id in (1, 2)")
        connection.execute("update crm.customers set name = 'edited' where pipedrive_id = 3")

    healed, again = evaluated(instance, "verify"), evaluated(instance, "verify")

    contacts = healed["crm/contacts", "equals_raw"]
    assert (contacts.passed, contacts.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert contacts.metadata["missing"].value == 2
    assert healed["crm/customers", "equals_raw"].metadata["differing"].value == 1
    assert all(evaluation.passed for (_, name), evaluation in again.items() if name == "equals_raw")
    assert again["analytics/customers", "null_conservation"].passed
    assert [row["sync_type"] for row in world.history()[1:]] == ["verify", "verify"]
