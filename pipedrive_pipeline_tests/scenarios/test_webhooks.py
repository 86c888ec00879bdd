"""What a webhook tells is in the tables at once: as a sweep would have it, and better."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import time_machine

from pipedrive_pipeline.connectors.contract import Notice, Tombstone
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded
from pipedrive_pipeline.sandbox import serve as serve_account
from pipedrive_pipeline.sandbox.pipedrive.world.conversions import convert_deal, convert_lead
from pipedrive_pipeline.sandbox.pipedrive.world.ids import printed_id
from pipedrive_pipeline.sandbox.pipedrive.world.kinds import ENTITIES
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.budget.daily_budget import midnight
from pipedrive_pipeline.sync.signals.refresh import serve_waiting
from pipedrive_pipeline.sync.signals.serving import Served
from pipedrive_pipeline.sync.signals.store import ASKED_AGAIN_AFTER, receive
from pipedrive_pipeline_tests.databases import read_only
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source, marked
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World, world_at

pytestmark = pytest.mark.slow
SCOPE = Scope(ACME, SYSTEM)
FIELDS = ("organization_fields", "person_fields", "deal_fields")
READ = (*FIELDS, "users", "organizations", "persons", "pipelines", "stages", "deals")
_keys = count(1)


@pytest.fixture
def account() -> CrmAccount:
    """A company with some of everything, and more persons than one call gives by their ids."""
    return seeded(10, 130, deals=12)


@pytest.fixture
def sandbox(account: CrmAccount) -> Iterator[Sandbox]:
    with serve_account(account, has_limits=False) as running:
        yield running


@pytest.fixture
def world(database_url: str, tmp_path: Path, sandbox: Sandbox) -> World:
    """Acme, connected and synced."""
    world = world_at(database_url, tmp_path)
    world.connect(ACME, sandbox)
    read_only(world.warehouse, ACME, READ)
    world.first_sync()
    return world


def deliver(world: World, *notices: Notice) -> None:
    """One delivery for each event, in this order."""
    for notice in notices:
        receive(world.warehouse, SCOPE, "hook", [notice])


def serve(world: World, *notices: Notice) -> Served:
    """What became of these events."""
    deliver(world, *notices)
    served = serve_waiting(world.warehouse, world.settings, SCOPE)
    assert served.errors == ()
    return served


def change(entity: str, record_id: int | str, at: datetime | None = None, **more: Any) -> Notice:
    """An event of an edit."""
    return Notice(f"e{next(_keys)}", entity, str(record_id), at or datetime.now(UTC), **more)


def deletion(entity: str, record_id: int | str, at: datetime, into: int | None = None) -> Notice:
    """An event of a deletion, or of a merge."""
    stone = Tombstone(str(record_id), "deleted")
    if into is not None:
        stone = Tombstone(str(record_id), "merged", str(into))
    return change(entity, record_id, at, tombstone=stone)


def calls(world: World) -> dict[str, int]:
    """Booked calls by kind."""
    rows = world.rows("integration", "api_usage", "call_kind")
    return {row["call_kind"]: row["calls"] for row in rows}


def signals_of(world: World) -> list[dict[str, Any]]:
    """Signals that wait."""
    return world.rows("integration", "signals", "remote_id")


def contact(world: World, record_id: int) -> dict[str, Any]:
    """A person's row in crm."""
    rows = world.rows("crm", "contacts", "remote_id")
    return next(row for row in rows if row["remote_id"] == str(record_id))


def test_deletions_and_merges_are_those_of_a_sweep_with_reason_and_time(
    world: World, account: CrmAccount, sandbox: Sandbox
) -> None:
    """A sweep sees only that a record is gone, days later."""
    sandbox.clock.advance(60)
    sandbox.clock.freeze()
    at = sandbox.clock.now().replace(microsecond=0)
    account.delete("persons", 7)
    account.merge("persons", 8, 9)
    account.delete("deals", 5)
    before = calls(world)

    served = serve(
        world,
        deletion("persons", 7, at),
        deletion("deals", 5, at),
        deletion("persons", 8, at),
        deletion("persons", 8, at, into=9),
        change("persons", 9, at),
    )

    assert served.count == 4
    assert served.lag is not None
    assert served.lag.events == 5
    assert signals_of(world) == []
    made = {kind: number - before.get(kind, 0) for kind, number in calls(world).items()}
    assert {kind for kind, number in made.items() if number} <= {
        "pick persons",
        "get deals",
        "pick deals",
    }, "no person is asked for alone"
    assert marked(world, "persons") == {"7": "deleted", "8": "merged"}
    gone = contact(world, 7)
    assert (gone["deleted_at"], gone["deletion_reason"]) == (at, "deleted")
    lost = contact(world, 8)
    assert (lost["deletion_reason"], lost["merged_into_remote_id"]) == ("merged", "9")
    (deal,) = [row for row in world.rows("crm", "deals", "id") if row["remote_id"] == "5"]
    assert (deal["deleted_at"], deal["deletion_reason"]) == (at, "deleted")
    serve(world, change("persons", 8))  # it is asked for by its id, and answered like a deleted one
    assert marked(world, "persons") == {"7": "deleted", "8": "merged"}
    assert contact(world, 8)["merged_into_remote_id"] == "9"
    world.sync()
    world.sync(sync_type="sweep")
    assert marked(world, "persons") == {"7": "deleted", "8": "merged"}
    assert contact(world, 7)["deleted_at"] == at
    assert_all_equals_source(world, sandbox)


def test_a_deletion_that_is_older_than_what_was_read_changes_nothing(
    world: World, account: CrmAccount, sandbox: Sandbox
) -> None:
    """Events come late and in any order; a restored record must not vanish again."""
    deleted_at = sandbox.clock.now()
    account.delete("persons", 7)
    account.delete("persons", 8)
    account.delete("persons", 9)
    sandbox.clock.advance(60)
    restored_at = sandbox.clock.now()
    account.restore("persons", 7)
    account.restore("persons", 8)
    world.sync()

    serve(world, deletion("persons", 7, deleted_at))  # its restoration was read
    serve(world, change("persons", 8, restored_at))
    serve(world, deletion("persons", 8, deleted_at))  # its restoration was told
    serve(world, deletion("persons", 9, deleted_at))
    account.restore("persons", 9)
    serve(world, change("persons", 9, sandbox.clock.now()), deletion("persons", 9, deleted_at))

    assert marked(world, "persons") == {}
    assert contact(world, 7)["deleted_at"] is None
    assert contact(world, 9)["deleted_at"] is None
    world.sync(sync_type="sweep")
    assert_all_equals_source(world, sandbox)


def test_a_restoration_that_a_run_with_a_slow_clock_read_is_no_deletion(
    world: World, account: CrmAccount, sandbox: Sandbox
) -> None:
    """A load has the time of the run's machine, an event that of the database."""
    sandbox.clock.advance(60)
    sandbox.clock.freeze()
    deleted_at = sandbox.clock.now()
    account.delete("persons", 7)
    deliver(world, deletion("persons", 7, deleted_at))
    account.restore("persons", 7, is_touched=False)
    with time_machine.travel(datetime.now(UTC) - timedelta(minutes=10), tick=True):
        world.sync(sync_type="full")

    serve(world)

    assert marked(world, "persons") == {}


def test_a_conversion_is_known_as_one_whichever_event_comes_first(
    world: World, account: CrmAccount, sandbox: Sandbox
) -> None:
    """The source has no event for it: a record is deleted, and another one is new."""
    read_only(world.warehouse, ACME, (*READ, "leads"))
    world.first_sync()
    first, second = [str(row["id"]) for row in world.raw(ACME, "leads")][:2]
    sandbox.clock.advance(60)
    at = sandbox.clock.now()

    deal = convert_lead(account, first)
    serve(world, deletion("leads", first, at))
    serve(world, change("deals", deal["id"], at))
    other = convert_lead(account, second)
    serve(world, change("deals", other["id"], at))
    serve(world, deletion("leads", second, at))
    lead = printed_id(ENTITIES["leads"], convert_deal(account, other["id"])["id"])
    serve(world, deletion("deals", other["id"], at), change("leads", lead, at))

    leads = {row["remote_id"]: row for row in world.rows("crm", "leads")}
    deals = {row["remote_id"]: row for row in world.rows("crm", "deals")}
    assert [leads[key]["deletion_reason"] for key in (first, second)] == ["converted"] * 2
    assert leads[first]["converted_deal_remote_id"] == str(deal["id"])
    assert deals[str(other["id"])]["deletion_reason"] == "converted"
    assert leads[lead]["source_deal_remote_id"] == str(other["id"])
    assert signals_of(world) == []
    world.sync(sync_type="sweep")
    assert_all_equals_source(world, sandbox)


def test_a_signalled_record_that_no_read_gives_is_looked_up(
    world: World, account: CrmAccount
) -> None:
    """As a sweep does: a deletion's own event may be lost, or the user may not see the record."""
    account.delete("persons", 7)
    account.set_rights(account.admin_id, hidden=[("persons", 8)])

    serve(world, change("persons", 7), change("persons", 8), change("persons", 10**6))

    assert marked(world, "persons") == {"7": "deleted", "8": "invisible"}
    assert signals_of(world) == []


def test_a_bulk_edit_is_one_walk(world: World, account: CrmAccount, sandbox: Sandbox) -> None:
    """By their ids, 50,000 records would be 500 calls."""
    ids = [row["id"] for row in world.raw(ACME, "persons")][:120]
    sandbox.clock.advance(60)
    account.edit_many("persons", ids, job_title="Bulk")
    account.delete("persons", ids[0])
    before = calls(world)

    served = serve(
        world,
        *(change("persons", key, sandbox.clock.now()) for key in ids),
        deletion("persons", ids[0], sandbox.clock.now()),
    )

    assert served.count == len(ids) > 100
    made = {kind: number - before.get(kind, 0) for kind, number in calls(world).items()}
    # The walk, and whether the deleted record, which a run has just loaded, was restored since.
    assert {kind: number for kind, number in made.items() if number} == {
        "list persons": 1,
        "get persons": 1,
        "pick persons": 1,
    }
    assert signals_of(world) == []
    assert marked(world, "persons") == {str(ids[0]): "deleted"}
    world.sync(sync_type="sweep")
    assert_all_equals_source(world, sandbox)


def test_two_moves_within_a_minute_are_two_visits_in_any_order_of_events(
    world: World, account: CrmAccount, sandbox: Sandbox
) -> None:
    """A read sees only the last stage; an event of the first one may even come after that read."""
    deal = next(row for row in world.raw(ACME, "deals") if row["status"] == "open")
    first, *others = _stages(world, deal)
    moves = [_moved(account, sandbox, deal["id"], stage) for stage in (others[0], first, others[1])]
    world.sync()
    assert _visits(world, deal["id"])[-2:] == [first, others[1]]

    serve(world, moves[1])
    serve(world, moves[2], moves[0], moves[1])
    serve(world, moves[0])

    expected = [first, others[0], first, others[1]]
    assert _visits(world, deal["id"]) == expected
    serve(world, _moved(account, sandbox, deal["id"], others[0]))
    assert _visits(world, deal["id"]) == [*expected, others[0]]
    world.sync(sync_type="full")
    assert _visits(world, deal["id"]) == [*expected, others[0]]
    rows = [row for row in _visit_rows(world, deal["id"]) if row["origin"] == "webhook"]
    assert {row["changed_by_remote_id"] for row in rows} == {"1"}


def test_an_event_of_what_the_tenant_does_not_read_is_ignored(world: World) -> None:
    before = calls(world)

    served = serve(world, change("leads", "a-lead"), change("tickets", 1))

    assert served.count == 2
    assert calls(world) == before
    assert signals_of(world) == []


def test_events_of_a_former_company_are_forgotten(world: World) -> None:
    """Its deletions would mark records of the new company, which have the same ids."""
    deliver(world, deletion("persons", 7, datetime.now(UTC)))
    other = seeded(3, 12, seed=9)
    other.company_id = 2

    with serve_account(other, has_limits=False) as sandbox:
        world.connect(ACME, sandbox, is_other_company=True)
        waiting = [*signals_of(world), *world.rows("integration", "webhook_events", "event_key")]

    assert waiting == []


@pytest.mark.usefixtures("one_day")
def test_signals_wait_where_the_tokens_are_for_the_syncs(world: World, account: CrmAccount) -> None:
    """A quarter of the day's tokens is kept for syncs; nothing is given up meanwhile."""
    with world.warehouse.transaction(tenant=ACME) as connection:
        (spent,) = connection.execute(
            "select sum(tokens) from integration.api_usage"
        ).fetchone() or (0,)
        connection.execute(
            "update integration.sync_settings set daily_token_budget = %s, budget_share = 1",
            [int(spent * 4 / 3)],
        )
    account.edit("persons", 7, name="Later")
    deliver(world, change("persons", 7))

    began = datetime.now(UTC)
    served = serve_waiting(world.warehouse, world.settings, SCOPE)
    (waiting,) = signals_of(world)
    with world.warehouse.transaction(tenant=ACME) as connection:
        connection.execute("update integration.sync_settings set daily_token_budget = null")
        connection.execute("update integration.signals set retry_at = null")
    serve(world)

    assert [error.code for error in served.errors] == ["budget_spent"]
    assert (served.count, waiting["attempts"]) == (0, 0)
    asked_again_at = min(began + ASKED_AGAIN_AFTER, midnight(began))
    assert asked_again_at <= waiting["retry_at"] <= midnight(began)
    assert contact(world, 7)["name"] == "Later"
    assert signals_of(world) == []


def _stages(world: World, deal: dict[str, Any]) -> list[str]:
    """The deal's stage, then two others of its pipeline."""
    stages = [
        str(row["id"])
        for row in world.raw(ACME, "stages")
        if row["pipeline_id"] == deal["pipeline_id"] and row["id"] != deal["stage_id"]
    ]
    return [str(deal["stage_id"]), *stages[:2]]


def _moved(account: CrmAccount, sandbox: Sandbox, deal_id: int, stage: str) -> Notice:
    """The event of a deal's move to a stage, ten seconds after the last one."""
    sandbox.clock.advance(10)
    row = account.edit("deals", deal_id, stage_id=int(stage))
    names = (
        *("id", "stage_id", "pipeline_id", "status", "stage_change_time", "won_time", "lost_time"),
        *("value", "currency", "update_time"),
    )
    version = {name: msgspec.Raw(msgspec.json.encode(row.get(name))) for name in names}
    return change("deals", deal_id, sandbox.clock.now(), version=version, actor_id="1")


def _visit_rows(world: World, deal_id: int) -> Iterable[dict[str, Any]]:
    rows = world.rows("crm", "deal_stage_history", "entered_at")
    return [row for row in rows if row["deal_remote_id"] == str(deal_id)]


def _visits(world: World, deal_id: int) -> list[str]:
    """The stages that the deal was in, in order."""
    return [row["stage_remote_id"] for row in _visit_rows(world, deal_id)]


def test_what_a_walk_does_not_give_is_read_by_its_id(
    world: World, account: CrmAccount, sandbox: Sandbox
) -> None:
    """Many events of leads are served by a walk, whose list has no archived leads."""
    leads = [
        account.create("leads", title=f"Lead {number}", person_id=7)["id"] for number in range(15)
    ]
    read_only(world.warehouse, ACME, (*READ, "leads"))
    world.sync(sync_type="full")
    sandbox.clock.advance(400)
    for lead in leads:
        account.edit("leads", lead, is_archived=True)
    before = calls(world)

    serve(world, *(change("leads", printed_id(ENTITIES["leads"], lead)) for lead in leads))

    made = {kind for kind, number in calls(world).items() if number > before.get(kind, 0)}
    assert made >= {"list leads", "get leads"}
    assert signals_of(world) == []
    assert_all_equals_source(world, sandbox)
