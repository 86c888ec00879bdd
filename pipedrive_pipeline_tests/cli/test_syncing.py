"""`sync`, `sweep` and `verify` as they are typed."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal, Terminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World


@pytest.mark.slow
def test_one_entity_alone_is_read_and_built(
    terminal: Terminal, world: World, sandbox: Sandbox
) -> None:
    """The run is part of a job, and ended before it began: its resource stood there twice."""
    world.connect(ACME, sandbox)

    result = terminal.run("sync", "--tenant", "acme", "--entity", "persons", "--json")

    assert result.code == 0, result.err
    assert list(result.facts["entities"]) == ["persons"]
    assert result.facts["marts"]["contacts"]["created"] == 35


@pytest.mark.slow
def test_rejected_records_are_counted_where_people_look_until_they_are_repaired(
    terminal: Terminal, world: World, sandbox: Sandbox
) -> None:
    """Six were refused, one was listed, and the run said that all was up to date."""
    world.connect(ACME, sandbox)
    for number in range(1, 7):
        sandbox.account.plant("persons", number, id=None)
    sandbox.account.plant("persons", 8, owner_id="nobody", org_id="")

    result = terminal.run("sync", "--tenant", "acme", "--full")

    assert result.code == 0, result.err
    assert (
        "persons: 6 records without a usable id and 1 values that do not fit their column were "
        "set aside; integration.rejected_values lists them." in result.out
    )
    (run,) = world.history()
    assert run["persons_rejected"] == 7
    listed = [row["record_id"] for row in world.rows("integration", "rejected_values", "id")]
    assert sorted(listed, key=str) == ["8", *[None] * 6]
    for number in range(1, 7):
        sandbox.account.plant("persons", number, id=number)
    sandbox.account.edit("persons", 8, owner_id=None, org_id=None)
    assert terminal.run("sweep", "--tenant", "acme").code == 0
    assert world.rows("integration", "rejected_values", "id") == []


@pytest.mark.slow
def test_a_sweep_marks_what_is_gone_and_proves_the_rest(
    terminal: Terminal, world: World, sandbox: Sandbox
) -> None:
    world.connect(ACME, sandbox)
    world.first_sync()
    sandbox.account.delete("persons", 3)
    spent_before, calls_before = sandbox.requests.tokens_spent, sandbox.requests.count

    result = terminal.run("sweep", "--tenant", "acme", "--json")

    assert result.code == 0, result.err
    assert result.facts["tokens_spent"] == sandbox.requests.tokens_spent - spent_before
    assert result.facts["api_calls"] == sandbox.requests.count - calls_before
    assert result.facts["marts"]["contacts"]["deleted"] == 1
    persons = result.facts["entities"]["persons"]
    assert (persons["missing"], persons["extra"], persons["stale"]) == (0, 0, 0)


@pytest.mark.slow
def test_verify_heals_and_says_so_and_fails_where_something_is_not_proved(
    terminal: Terminal, world: World, sandbox: Sandbox
) -> None:
    """Exit code 0: all values are equal; 1: a person must look, and the output says at which."""
    world.connect(ACME, sandbox)
    world.first_sync()
    requests = sandbox.requests.count
    with world.warehouse.transaction() as connection:
        connection.execute("delete from crm.contacts where pipedrive_id in (1, 2)")

    healed = terminal.run("verify", "--tenant", "acme", "--json")
    again = terminal.run("verify", "--tenant", "acme")
    with world.warehouse.transaction() as connection:
        connection.execute(
            "create function public.loud() returns trigger language plpgsql as"
            " $$ begin new.name := upper(new.name); return new; end $$"
        )
        connection.execute(
            "create trigger loud before update on crm.contacts"
            " for each row execute function public.loud()"
        )
        connection.execute("update crm.contacts set email = 'x' where pipedrive_id = 3")
    unproved = terminal.run("verify", "--tenant", "acme", "--json")

    assert healed.code == 0, healed.err
    assert healed.facts["comparison"]["contacts"]["missing"] == 2
    assert healed.facts["comparison"]["values"]["lost"] == 0
    assert (healed.facts["api_calls"], sandbox.requests.count) == (0, requests)
    assert again.code == 0
    assert "marts compared with raw: every row and link is equal." in again.out
    assert unproved.code == 1
    assert unproved.facts["comparison"]["contacts"]["unhealed"] == 1
    assert "rows of crm.contacts are not as raw makes them" in unproved.facts["errors"][0]


def test_a_dry_run_of_changes_says_what_the_tenant_pays(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    """It said 60 tokens to every tenant, whatever is read of it."""
    world.connect(ACME, sandbox)
    databases.read_only(world.warehouse, ACME, (*databases.ENTITIES_READ, "deals"))

    result = in_process.run("sync", "--tenant", "acme", "--dry-run")

    assert result.code == 2
    assert result.error == (
        "error: --dry-run goes with --full; a sync in which nothing changed costs 90 tokens "
        "at most."
    )
