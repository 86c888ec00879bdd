"""What is gone at the source carries a mark after a sweep, and nothing else does."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.errors import ExitCode, GuardTripped, IncompleteRead
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs import held_deletions
from pipedrive_pipeline.sync.runs.held_deletions import Decision
from pipedrive_pipeline.sync.status.deletion_examples import deletion_examples
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source, marked, mart
from pipedrive_pipeline_tests.scenarios.world import ACME, World

MANY = 60  # more than the guard's 50 rows, and more than a tenth of 350


def deleted_ids(world: World, name: str) -> set[int]:
    """The records whose row of a mart says that they are gone."""
    return {row["pipedrive_id"] for row in mart(world, name) if row["deleted_at"] is not None}


@pytest.mark.slow
def test_what_was_deleted_merged_or_hidden_is_marked_and_comes_back(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    world.first_sync()
    account.delete("persons", 30)
    account.merge("organizations", 31, 32)
    account.set_rights(account.admin_id, hidden=[("persons", 40)])
    world.sync(sync_type="sweep")
    assert_all_equals_source(world, sandbox)
    assert marked(world, "persons") == {"30": "deleted", "40": "invisible"}
    assert marked(world, "organizations").keys() == {"31"}

    account.restore("persons", 30, is_touched=False)
    account.set_rights(account.admin_id, hidden=[])
    world.sync(sync_type="sweep")

    assert deleted_ids(world, "contacts") == set()
    assert deleted_ids(world, "customers") == {31}
    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_too_many_gone_at_once_are_not_believed_until_somebody_confirms(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """A right that shrank looks like this, and must not empty a table."""
    world.first_sync()
    for row_id in range(1, MANY + 1):
        account.delete("persons", row_id)
    with pytest.raises(GuardTripped) as refused:
        world.sync(sync_type="sweep")
    assert refused.value.exit_code is ExitCode.PERSON_MUST_ACT
    assert "confirm with `sweep --tenant acme --confirm`" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert marked(world, "persons") == {}

    world.sync(sync_type="sweep", is_confirmed=True)

    assert deleted_ids(world, "contacts") == set(range(1, MANY + 1))
    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_an_emptied_list_is_not_believed_until_somebody_confirms_however_short_it_was(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """It is what a user sees who lost a right, and what an account shows that sold its last one."""
    databases.read_only(world.warehouse, ACME, ("products",))
    world.first_sync()
    products = {str(row["id"]) for row in sandbox.truth("products")}
    for product in products:
        account.delete("products", int(product))
    with pytest.raises(GuardTripped, match=f"{len(products)} of {len(products)} products"):
        world.sync(sync_type="sweep")
    assert marked(world, "products") == {}

    world.sync(sync_type="sweep", is_confirmed=True)

    assert marked(world, "products") == dict.fromkeys(products, "deleted")
    assert_all_equals_source(world, sandbox)


def decide(world: World, decision: Decision) -> bool:
    """A person decides what is held of persons, after looking at it."""
    scope = Scope(ACME, "pipedrive")
    with world.warehouse.as_app(ACME) as connection:
        (held,) = held_deletions.held(connection, scope)
        return held_deletions.decide(
            connection, scope, "persons", decision, found_at=held.found_at, who="ada"
        )


@pytest.mark.slow
def test_a_person_confirms_what_was_shown_and_no_more(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Between the look and the sweep a right may shrink: what nobody saw is not confirmed."""
    world.first_sync()
    for row_id in range(1, MANY + 1):
        account.delete("persons", row_id)
    with pytest.raises(GuardTripped):
        world.sync(sync_type="sweep")
    with world.warehouse.as_app(ACME) as connection:
        (held,) = held_deletions.held(connection, Scope(ACME, "pipedrive"))
        examples = deletion_examples(connection, Scope(ACME, "pipedrive"), held)
    assert (held.entity, held.gone, len(held.sample)) == ("persons", MANY, MANY)
    assert {int(example.id) for example in examples} <= set(range(1, MANY + 1))
    assert all(example.name for example in examples)
    assert decide(world, "confirmed")
    for row_id in range(MANY + 1, 3 * MANY + 1):
        account.delete("persons", row_id)

    with pytest.raises(GuardTripped):
        world.sync(sync_type="sweep")
    assert marked(world, "persons") == {}
    assert decide(world, "confirmed")
    world.sync(sync_type="sweep")

    assert deleted_ids(world, "contacts") == set(range(1, 3 * MANY + 1))
    assert_all_equals_source(world, sandbox)
    with world.warehouse.as_app(ACME) as connection:
        assert held_deletions.held(connection, Scope(ACME, "pipedrive")) == []


@pytest.mark.slow
def test_what_a_person_confirms_while_a_sweep_looks_again_is_marked_by_the_next(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """That sweep did not know it, and forgot it at its end."""
    world.first_sync()
    for row_id in range(1, MANY + 1):
        account.delete("persons", row_id)
    with pytest.raises(GuardTripped):
        world.sync(sync_type="sweep")
    decided: list[bool] = []

    def confirm_once(_read: object) -> None:
        if not decided:
            decided.append(decide(world, "confirmed"))

    with pytest.raises(GuardTripped):
        world.sync(sync_type="sweep", on_page=confirm_once)
    world.sync(sync_type="sweep")

    assert decided == [True]
    assert deleted_ids(world, "contacts") == set(range(1, MANY + 1))
    assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_a_list_that_breaks_off_marks_nobody_as_deleted(world: World, account: CrmAccount) -> None:
    """Its end looks like any other; the look for the newest record tells that it is none."""
    with serve(account, page_rows=320) as small_pages:
        world.connect(ACME, small_pages)
        world.sync(sync_type="full")
        small_pages.faults.add("null_cursor", path="/api/v2/persons")
        with pytest.raises(IncompleteRead):
            world.sync(sync_type="sweep")

        assert marked(world, "persons") == {}
        world.sync(sync_type="sweep")
        assert_all_equals_source(world, small_pages)


@pytest.mark.slow
def test_an_answer_to_ids_that_breaks_off_too_marks_nobody_as_deleted(world: World) -> None:
    """Of 60 persons ten are not listed, and five of these read again: the others by one."""
    with serve(seeded(5, 60), page_rows=20) as small_pages:
        world.connect(ACME, small_pages)
        world.sync(sync_type="full")
        small_pages.faults.add("half_page", path="/api/v2/persons", after=1)
        small_pages.faults.add("half_page", path="ids=")

        world.sync(sync_type="sweep")

        assert small_pages.faults.waiting() == []
        assert marked(world, "persons") == {}
        assert_all_equals_source(world, small_pages)


@pytest.mark.slow
@pytest.mark.parametrize("page_rows", [40, 320], ids=["few", "more than the guard believes"])
def test_a_page_that_leaves_many_out_is_incomplete_and_marks_nobody(
    page_rows: int, world: World, account: CrmAccount
) -> None:
    """No confirmation is required: the source still returns them by their ids."""
    with serve(account, page_rows=page_rows) as pages:
        world.connect(ACME, pages)
        world.sync(sync_type="full")
        before = world.store().cursors["persons"]
        pages.clock.advance(3_600)
        pages.faults.add("half_page", path="/api/v2/persons")

        with pytest.raises(IncompleteRead, match="left out"):
            world.sync(sync_type="sweep")

        assert marked(world, "persons") == {}
        assert world.store().cursors["persons"] == before
        assert_all_equals_source(world, pages)


@pytest.mark.slow
def test_fields_and_users_that_a_cut_list_lacks_are_looked_for_again(
    world: World, account: CrmAccount
) -> None:
    """They have no ids to ask for; one list that ends early must not take columns away."""
    with serve(account) as sandbox:
        world.connect(ACME, sandbox)
        world.sync(sync_type="full")
        for path in ("personFields", "v1/users"):
            sandbox.faults.add("half_page", path=path)

        with pytest.raises(IncompleteRead):
            world.sync(sync_type="sweep")

        assert sandbox.faults.waiting() == []
        assert [marked(world, name) for name in ("person_fields", "users")] == [{}, {}]
        assert_all_equals_source(world, sandbox)


@pytest.mark.slow
def test_three_organizations_and_two_persons_of_thousands_are_exactly_those_marked(
    world: World,
) -> None:
    account = seeded(2_000, 6_000, organization_fields=5, person_fields=5)
    with serve(account) as sandbox:
        world.connect(ACME, sandbox)
        world.sync(sync_type="full")
        for row_id in (5, 500, 1_999):
            account.delete("organizations", row_id)
        for row_id in (7, 5_000):
            account.delete("persons", row_id)

        world.sync(sync_type="sweep")

        assert deleted_ids(world, "customers") == {5, 500, 1_999}
        assert deleted_ids(world, "contacts") == {7, 5_000}
        for row_id in range(1_000, 3_000):
            account.delete("persons", row_id)
        with pytest.raises(GuardTripped, match="2000 of 5998 persons") as refused:
            world.sync(sync_type="sweep")
        assert refused.value.exit_code == 4
        assert deleted_ids(world, "contacts") == {7, 5_000}
        world.sync(sync_type="sweep", is_confirmed=True)
        assert deleted_ids(world, "contacts") == {7, 5_000, *range(1_000, 3_000)}
