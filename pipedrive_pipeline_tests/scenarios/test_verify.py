"""Damaged marts are right after the next rebuild of any kind; what cannot be proved is named."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pipedrive_pipeline.errors import NotProven
from pipedrive_pipeline.marts import mapping, publish_due
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.test_erasure import contact_ids, erase
from pipedrive_pipeline_tests.scenarios.test_erasure import run as execute
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

DAMAGE = """
    delete from crm.contacts where pipedrive_id % 7 = 0;
    delete from crm.customers where pipedrive_id % 11 = 0;
    update crm.customers set name = 'edited', deleted_at = now() where pipedrive_id % 5 = 0;
    update crm.contacts set customer_id = null where pipedrive_id % 4 = 0;
    insert into crm.contacts (tenant_id, system, remote_id) values ('acme', 'pipedrive', '99999');
"""
LOUD = """
    create function public.loud() returns trigger language plpgsql as $$
    begin
        new.name := upper(new.name);
        return new;
    end
    $$;
    create trigger loud before update on crm.customers
        for each row execute function public.loud();
"""


def verify(world: World) -> dict[str, Any]:
    """What the job `verify` does, without Dagster around it; its comparison in the history."""
    with world.run(sync_type="verify") as run:
        run.build_marts()
        run.publish_views()
        run.assert_proven(run.field_facts())
    comparison: dict[str, Any] = world.history()[-1]["comparison"]
    return comparison


def rebuild(world: World, sync_type: SyncType) -> dict[str, Any]:
    """One run that builds all of raw; its comparison in the history."""
    if sync_type in {"full", "sweep"}:
        world.sync(sync_type=sync_type)
    else:
        with world.run(sync_type=sync_type) as run:
            run.build_marts()
            run.publish_views()
    comparison: dict[str, Any] = world.history()[-1]["comparison"]
    return comparison


@pytest.mark.slow
def test_every_rebuild_heals_damaged_marts_and_says_how_many(
    world: World, sandbox: Sandbox
) -> None:
    """They said "up to date, missing 0", and the rows were gone for good."""
    world.first_sync()
    kinds: tuple[SyncType, ...] = ("full", "sweep", "remap", "verify")
    for sync_type in kinds:
        execute(world, DAMAGE)

        result = rebuild(world, sync_type)

        customers, contacts = result["customers"], result["contacts"]
        assert customers["missing"] >= 10, sync_type
        assert customers["differing"] >= 20, sync_type
        assert contacts["missing"] >= 50, sync_type
        assert contacts["links"] >= 50, sync_type
        assert (contacts["extra"], contacts["unhealed"], customers["unhealed"]) == (1, 0, 0)
        execute(world, "delete from crm.contacts where pipedrive_id = 99999")
        assert_all_equals_source(world, sandbox)
    assert rebuild(world, "verify")["customers"] == dict.fromkeys(
        ("missing", "differing", "links", "extra", "unhealed"), 0
    )


@pytest.mark.slow
def test_verify_compares_all_values_without_a_call(world: World, sandbox: Sandbox) -> None:
    world.first_sync()
    requests = sandbox.requests.count

    result = verify(world)

    assert result["values"]["seen"] > 1_000
    assert result["values"]["lost"] == 0
    assert sandbox.requests.count == requests
    assert world.history()[-1]["status"] == "success"


@pytest.mark.slow
def test_what_verify_cannot_prove_is_named_and_the_rest_is_healed(world: World) -> None:
    """A trigger that changes what we write, and a value that a view does not show."""
    world.first_sync()
    execute(world, LOUD)
    execute(world, "update crm.customers set city = 'x' where pipedrive_id = 1")
    execute(world, "delete from crm.contacts where pipedrive_id = 1")

    with pytest.raises(NotProven, match=r"rows of crm\.customers are not as raw makes them"):
        verify(world)

    row = world.history()[-1]
    assert (row["status"], row["errors"][0]["code"]) == ("failed", "not_proven")
    assert row["comparison"]["customers"]["unhealed"] == 1
    assert 1 in contact_ids(world)


@pytest.mark.slow
def test_an_erased_person_whom_an_older_dump_brings_back_is_erased_again(world: World) -> None:
    """`crm` was restored, raw was not: nobody may find in one what left the other."""
    world.first_sync()
    person = min(contact_ids(world))
    of_person = f"from crm.contacts where pipedrive_id = {person}"
    execute(world, f"create table public.dump as select * {of_person}")
    erase(world, person)
    columns = "id, tenant_id, system, remote_id, name, email, emails"
    execute(world, f"insert into crm.contacts ({columns}) select {columns} from public.dump")

    verify(world)

    assert person not in contact_ids(world)


@pytest.mark.slow
def test_a_new_field_while_somebody_reads_the_views_leaves_the_run_green(
    world: World, account: CrmAccount
) -> None:
    """It ended after eleven seconds; the marts are committed, and the views follow."""
    world.sync()
    field = account.fields["organizations"].add("Brandneu", "double")
    account.edit("organizations", 1, custom_fields={field.code: 5})

    with psycopg.connect(world.warehouse.url) as analyst:
        analyst.execute("select from analytics_acme.customers")
        world.sync()

    row = world.history()[-1]
    assert (row["status"], [warning["code"] for warning in row["warnings"]]) == (
        "success",
        ["views_due"],
    )
    assert publish_due(world.warehouse).remade == ["acme"]
    assert "brandneu" in world.rows_of_view("analytics_acme", "customers")[0]


@pytest.mark.slow
def test_a_mapping_that_is_saved_amid_a_verify_makes_no_value_seem_lost(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Its column is filled by the next build; verify said that every value of it was lost."""
    number = account.fields["organizations"].named("Kundennummer")
    account.edit_many("organizations", range(1, 20), custom_fields={number.code: "K-1"})
    world.first_sync()
    with world.run(sync_type="verify") as run:
        run.build_marts()
        run.publish_views()
        mapped = {"organizations": {number.code: "customer_number"}}
        mapping.save(world.warehouse, Scope(ACME, SYSTEM), mapped, who="a test")

        run.assert_proven(run.field_facts())

    world.sync()
    numbers = {row["remote_id"]: row["customer_number"] for row in world.rows("crm", "customers")}
    assert numbers["1"] == "K-1"
    assert_all_equals_source(world, sandbox)
