"""Another mapping: new marts and views, and not one request."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.marts import mapping
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World


def remap(world: World) -> None:
    """What the job `remap` does, without Dagster around it."""
    with world.run(sync_type="remap") as run:
        run.build_marts()
        run.publish_views()


@pytest.mark.slow
def test_a_new_mapping_is_built_without_a_call(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """The sandbox's own log says so."""
    world.sync()
    number = account.fields["organizations"].named("Kundennummer").code
    text = {"organizations": {number: "customer_number"}}
    mapping.save(world.warehouse, Scope(ACME, SYSTEM), text, who="a test")
    requests, spent = sandbox.requests.count, sandbox.requests.tokens_spent

    remap(world)

    customers = [row for row in world.rows("crm", "customers") if row["pipedrive_id"]]
    truth = {row["id"]: row["custom_fields"][number] for row in sandbox.truth("organizations")}
    assert {row["pipedrive_id"]: row["customer_number"] for row in customers} == truth
    assert (sandbox.requests.count, sandbox.requests.tokens_spent) == (requests, spent)
    assert world.history()[-1]["sync_type"] == "remap"
    assert world.history()[-1]["status"] == "success"


@pytest.mark.slow
def test_views_show_what_the_source_shows(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """A field of two parts, under its readable name."""
    world.sync()
    field = account.fields["organizations"].named("Kreditlimit")

    with world.warehouse.transaction() as connection:
        shown = connection.execute(
            """
            select
                pipedrive_id,
                kreditlimit_amount,
                kreditlimit_currency
            from analytics_acme.customers
            """
        ).fetchall()
    sent = {
        record["id"]: record["custom_fields"][field.code] or {"value": None, "currency": None}
        for record in sandbox.truth("organizations")
    }
    assert {
        key: {"value": None if amount is None else float(amount), "currency": currency}
        for key, amount, currency in shown
    } == sent
