"""A tenant that does not want persons: none is requested, and existing rows stay."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox
from pipedrive_pipeline_tests.databases import ENTITIES_READ, read_only
from pipedrive_pipeline_tests.scenarios.world import ACME, World


@pytest.mark.slow
def test_persons_are_read_only_where_they_are_wanted(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Off, a full sync spends nothing on them; on again, what changed meanwhile arrives."""
    world.sync()
    contacts = world.rows("crm", "contacts")
    read_only(world.warehouse, ACME, set(ENTITIES_READ) - {"persons"})
    account.edit("persons", 1, name="Neu")
    account.edit("organizations", 1, name="Auch neu")
    before = sandbox.requests.count

    world.sync(sync_type="full")

    asked = {request.path for request in sandbox.requests.since(before)}
    assert not [path for path in asked if "person" in path]
    assert world.rows("crm", "contacts") == contacts
    assert "Auch neu" in {row["name"] for row in world.rows("crm", "customers")}
    with pytest.raises(BadInput, match="entities_off"):
        world.sync(entities=["persons"])
    read_only(world.warehouse, ACME, ENTITIES_READ)
    world.sync()
    assert "Neu" in {row["name"] for row in world.rows("crm", "contacts", tenant=ACME)}
