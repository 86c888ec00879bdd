"""Jobs on a real Dagster instance, over the served look-alike and real Postgres."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from pipedrive_pipeline.defs.location import LOCATION
from pipedrive_pipeline.marts import mapping
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.scenarios.world import ACME, World

METADATA_KEYS = {
    "rows_fetched",
    "rows_created",
    "rows_updated",
    "rows_unchanged",
    "rows_deleted",
    "rows_rejected",
    "api_calls",
    "tokens_spent",
    "watermark_before",
    "watermark_after",
}
MART_KEYS = {"rows_created", "rows_updated", "rows_unchanged", "rows_deleted"}


def run(instance: dg.DagsterInstance, job: str) -> dg.ExecuteInProcessResult:
    return LOCATION.resolve_job_def(job).execute_in_process(
        instance=instance, partition_key="acme", raise_on_error=False
    )


def tables(result: dg.ExecuteInProcessResult) -> set[tuple[str, int]]:
    """The table of each materialized asset, and its rows where Dagster's catalogue shows them."""
    return {
        (
            str(event.materialization.metadata["dagster/table_name"].value),
            int(str(event.materialization.metadata["dagster/row_count"].value)),
        )
        for event in result.get_asset_materialization_events()
        if "dagster/row_count" in event.materialization.metadata
    }


@pytest.mark.slow
def test_a_run_materializes_every_asset_with_its_figures(
    world: World, instance: dg.DagsterInstance
) -> None:
    result = run(instance, "full_resync")

    assert result.success
    metadata = {
        event.asset_key.to_user_string(): set(event.materialization.metadata)
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    raw = {"organizations", "persons", "users", "organization_fields", "person_fields"}
    assert all(metadata[f"pipedrive/{name}"] >= METADATA_KEYS for name in raw)
    assert metadata["crm/customers"] >= MART_KEYS
    assert metadata["crm/contacts"] >= MART_KEYS
    assert {"analytics/customers", "analytics/contacts"} <= metadata.keys()
    assert {"analytics/deal_funnel", "analytics/won_lost_monthly"} <= metadata.keys()
    assert tables(result) >= {
        ("raw_pipedrive_acme.persons", len(world.raw(ACME, "persons"))),
        ("crm.contacts", len(world.rows("crm", "contacts"))),
        ("analytics_acme.contacts", len(world.rows("crm", "contacts"))),
    }
    (row,) = world.history()
    assert (row["status"], row["sync_type"]) == ("success", "full")
    assert row["dagster_run_id"] == result.run_id


@pytest.mark.slow
def test_a_permanent_failure_says_who_acts_and_is_not_tried_again(
    world: World, sandbox: Sandbox, instance: dg.DagsterInstance
) -> None:
    """A retry on a revoked token only annoys the source."""
    sandbox.revoke()

    result = run(instance, "sync")

    assert not result.success
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    metadata = {key: value.value for key, value in failure.user_failure_data.metadata.items()}
    assert metadata == {"error_code": "needs_reauth", "who_acts": "the tenant"}
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    (row,) = world.history()
    assert (row["status"], row["errors"][0]["code"]) == ("failed", "needs_reauth")


@pytest.mark.slow
def test_marts_of_what_could_be_read_are_built_in_a_run_that_fails_for_the_rest(
    world: World, sandbox: Sandbox, instance: dg.DagsterInstance
) -> None:
    """Red, for somebody must give the right back; and not older than it need be."""
    sandbox.faults.add("scope_403", times=99, path="/api/v2/organizations")

    result = run(instance, "sync")

    assert not result.success
    partitions = {
        key: instance.get_materialized_partitions(dg.AssetKey(key.split("/")))
        for key in ("crm/contacts", "crm/customers", "pipedrive/persons", "pipedrive/organizations")
    }
    assert partitions.pop("pipedrive/organizations") == set()
    assert all(slugs == {"acme"} for slugs in partitions.values())
    (row,) = world.history()
    assert (row["status"], row["errors"][0]["code"]) == ("partial", "scope_missing")
    assert row["persons_created"] == len(world.rows("crm", "contacts"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["scope_403", "payment_402"])
def test_an_entity_that_a_plan_or_right_lacks_is_skipped_and_the_rest_is_green(
    world: World, sandbox: Sandbox, instance: dg.DagsterInstance, fault: str
) -> None:
    """It took customers and contacts down; its old rows stay, and are not marked as deleted."""
    assert run(instance, "sync").success
    users = world.rows("raw_pipedrive_acme", "users")
    account = sandbox.account
    account.edit("persons", 1, name="Neu")
    sandbox.faults.add(fault, times=99, path="/v1/users")

    results = [run(instance, job) for job in ("sync", "sweep")]

    assert all(result.success for result in results)
    assert world.rows("raw_pipedrive_acme", "users") == users
    assert world.rows("raw_pipedrive_acme", "deletions", "entity") == []
    for row in world.history()[1:]:
        assert (row["status"], row["errors"]) == ("success", [])
        (warning,) = row["warnings"]
        assert warning["code"] == "skipped"
        assert "users (acme: " in warning["message"]
    for result in results:
        refused = {
            evaluation.asset_key.path[-1]: evaluation
            for evaluation in result.get_asset_check_evaluations()
            if evaluation.check_name == "refused"
        }
        assert [name for name, evaluation in refused.items() if not evaluation.passed] == ["users"]
        assert refused["users"].severity is dg.AssetCheckSeverity.WARN
        keys = {event.asset_key for event in result.get_asset_materialization_events()}
        assert dg.AssetKey(["pipedrive", "users"]) not in keys
        assert dg.AssetKey(["crm", "contacts"]) in keys
    assert "Neu" in {row["name"] for row in world.rows("crm", "contacts")}


@pytest.mark.slow
def test_a_run_that_died_is_ended_in_dagster_and_in_the_history(
    world: World, instance: dg.DagsterInstance
) -> None:
    """After a reboot Dagster believes it alive for ever, and the tenant's next run waits."""
    dead = instance.create_run_for_job(
        LOCATION.resolve_job_def("sync"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": "acme"},
    )
    with world.warehouse.transaction() as connection:
        connection.execute(
            "insert into integration.runs"
            " (tenant_id, system, sync_type, trigger, dagster_run_id)"
            " values ('acme', 'pipedrive', 'incremental', 'manual', %s)",
            [dead.run_id],
        )

    assert run(instance, "sync").success

    ended = instance.get_run_by_id(dead.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE
    assert [row["status"] for row in world.history()] == ["failed", "success"]


def described(
    done: dg.ExecuteInProcessResult, asset: dg.AssetKey
) -> dict[str, tuple[str, set[tuple[str, str]]]]:
    """What a run says of an asset's columns: description and sources, by name."""
    (metadata,) = [
        event.step_materialization_data.materialization.metadata
        for event in done.get_asset_materialization_events()
        if event.asset_key == asset
    ]
    schema: Any = metadata["dagster/column_schema"].value
    lineage: Any = metadata["dagster/column_lineage"].value
    return {
        column.name: (
            column.description,
            {
                (dependency.asset_key.to_user_string(), dependency.column_name)
                for dependency in lineage.deps_by_column.get(column.name, ())
            },
        )
        for column in schema.columns
    }


@pytest.mark.slow
def test_the_views_say_what_they_show_and_what_a_person_should_look_at(
    instance: dg.DagsterInstance, world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Columns with their fields, the way back to raw, and checks that count without stopping."""
    assert run(instance, "sync").success
    number = account.fields["organizations"].named("Kundennummer").code
    text = {"organizations": {number: "customer_number"}}
    mapping.save(world.warehouse, Scope(Tenant("acme"), "pipedrive"), text, who="a test")
    requests = sandbox.requests.count

    done = run(instance, "remap")

    view = described(done, dg.AssetKey(["analytics", "customers"]))
    mart = described(done, dg.AssetKey(["crm", "customers"]))
    checks = {
        (evaluation.asset_key.path[-1], evaluation.check_name): evaluation.passed
        for evaluation in done.get_asset_check_evaluations()
        if evaluation.asset_key.path[0] == "analytics"
    }
    raw = "pipedrive/organizations"
    assert "Kundennummer (field " in view["kundennummer"][0]
    assert view["kundennummer"][1] == {(raw, "custom_fields")}
    assert view["customer_number"][1] == {("crm/customers", "customer_number")}
    assert f"Mapped: Kundennummer (field {number}, type varchar)" in mart["customer_number"][0]
    assert mart["customer_number"][1] == {(raw, "custom_fields")}
    assert mart["owner_name"][1] == {(raw, "owner_id"), ("crm/users", "name")}
    assert checks["customers", "null_conservation"]
    assert {name for name, _ in checks} == {mart.name for mart in MARTS}
    assert {check for name, check in checks if name == "customers"} > {"views_current"}
    assert {check for name, check in checks if name == "users"} == {
        "all_tenants",
        "views_current",
    }
    assert sandbox.requests.count == requests


@pytest.mark.slow
def test_any_selection_of_assets_and_checks_can_be_run(
    world: World, instance: dg.DagsterInstance
) -> None:
    """One mart failed with an error of Dagster's, and one check was green without a result."""
    world.first_sync()
    job = LOCATION.resolve_implicit_global_asset_job_def()
    contacts = dg.AssetKey(["crm", "contacts"])
    orphans = dg.AssetCheckKey(contacts, "orphans")

    of_one_mart = job.execute_in_process(
        instance=instance, partition_key="acme", asset_selection=[contacts]
    )
    of_one_check = job.get_subset(
        asset_selection=set(), asset_check_selection={orphans}
    ).execute_in_process(instance=instance, partition_key="acme")

    for done in (of_one_mart, of_one_check):
        made = {event.asset_key for event in done.get_asset_materialization_events()}
        assert {contacts, dg.AssetKey(["crm", "customers"])} <= made  # all marts are built together
        checked = [
            evaluation.check_name
            for evaluation in done.get_asset_check_evaluations()
            if evaluation.asset_key == contacts
        ]
        assert checked.count("orphans") == 1
