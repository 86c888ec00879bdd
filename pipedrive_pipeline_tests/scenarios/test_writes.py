"""What is written is at the source once, in the tables, and in the answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import pytest

from pipedrive_pipeline.connectors.contract import Notice, Tombstone
from pipedrive_pipeline.connectors.writing import Verb
from pipedrive_pipeline.errors import BudgetSpent, PipelineError, ReauthNeeded, ScopeMissing
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.sync.runs.lock import walk_lock
from pipedrive_pipeline.sync.signals.refresh import serve_waiting
from pipedrive_pipeline.sync.signals.store import receive
from pipedrive_pipeline.sync.status.problems import open_problems
from pipedrive_pipeline.sync.writes import outbox, review
from pipedrive_pipeline.sync.writes.background import settle_due
from pipedrive_pipeline.sync.writes.comparison import version
from pipedrive_pipeline.sync.writes.errors import (
    Duplicate,
    NoMatch,
    OutcomeUnknown,
    RecordGone,
    RecordMoved,
    RecordNotWritable,
    RefusedBySource,
    WriteInvalid,
    WriteKeyReused,
    WritingForbidden,
)
from pipedrive_pipeline.sync.writes.matching import Match
from pipedrive_pipeline.sync.writes.requests import WriteRequest, intended
from pipedrive_pipeline.sync.writes.steps import ACCEPTED, Timing, WriteOutcome
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.scenarios.postgres_proxy import statement_counter
from pipedrive_pipeline_tests.scenarios.world import ACME, World, world_at
from pipedrive_pipeline_tests.scenarios.writing import AT_ONCE, SCOPE, Caller, allow_writes

pytestmark = pytest.mark.slow

ORGANIZATIONS = "/api/v2/organizations"
# What can become of the answer to a create: the record was made, or it was not, and nobody knows.
LOST = {
    "made": ("lost_answer", "reset_mid_body", "truncated_json", "success_false"),
    "not made": ("http_500", "http_503", "html_503", "html_200", "empty_200"),
}


@pytest.fixture(scope="module")
def synced(
    database_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Sandbox]]:
    """A synced tenant that may write everything: one for all tests of this module."""
    account = seeded(20, 30, deals=10)
    with (
        databases.copy_of(database_template) as url,
        serve(account, has_limits=False) as sandbox,
    ):
        world = world_at(url, Path(tmp_path_factory.mktemp("home")))
        world.connect(ACME, sandbox)
        databases.read_everything(world.warehouse, ACME)
        world.sync(sync_type="full")
        yield world, sandbox


@pytest.fixture
def world(synced: tuple[World, Sandbox]) -> World:
    allow_writes(synced[0])
    return synced[0]


@pytest.fixture
def sandbox(synced: tuple[World, Sandbox]) -> Iterator[Sandbox]:
    yield synced[1]
    synced[1].faults.clear()


@pytest.fixture
def account(sandbox: Sandbox) -> CrmAccount:
    return sandbox.account


@pytest.fixture
def caller(world: World) -> Caller:
    return Caller(world)


def named(account: CrmAccount, name: str) -> list[dict[str, Any]]:
    """The organizations of this name at the source."""
    table = account.records["organizations"]
    records = (table.get(row_id) for row_id in range(1, table.last_id + 1))
    return [row for row in records if row and row["name"] == name and not row["is_deleted"]]


def row_of(world: World, remote_id: str | None) -> dict[str, Any]:
    rows = world.rows("crm", "customers")
    return next(row for row in rows if row["remote_id"] == remote_id)


def test_a_write_takes_few_connections(caller: Caller, world: World) -> None:
    """It took 43: a transaction had a connection of its own."""
    made = caller.write("customers", "create", values={"name": "Neu"})
    with statement_counter(world.warehouse.url) as counter:
        counted = Caller(replace(world, warehouse=Warehouse(counter.url)))
        remote_id = made.entry.remote_id
        done = counted.write("customers", "update", remote_id=remote_id, values={"name": "Neuer"})

    assert done.status == 200
    assert counter.connections <= 10


def test_a_customer_is_made_changed_and_deleted(
    caller: Caller, account: CrmAccount, world: World
) -> None:
    made = caller.write("customers", "create", values={"name": "Neu & Söhne", "visible_to": "3"})
    remote_id = made.entry.remote_id
    changed = caller.write("customers", "update", remote_id=remote_id, values={"name": "Neuer"})
    gone = caller.write("customers", "delete", remote_id=remote_id)

    assert (made.status, changed.status, gone.status) == (201, 200, 200)
    assert made.row is not None
    assert changed.row is not None
    assert gone.row is not None
    assert (made.row["name"], changed.row["name"]) == ("Neu & Söhne", "Neuer")
    assert made.row["id"] == changed.row["id"] == gone.row["id"]
    assert (changed.changes, made.changes) == ({}, {})
    assert gone.row["deletion_reason"] == "deleted"
    assert account.get("organizations", int(remote_id or 0))["is_deleted"]
    stored = [row for row in world.rows("integration", "outbox") if row["remote_id"] == remote_id]
    assert {row["state"] for row in stored} == {"done"}
    assert {row["body"] for row in stored} == {None}, "no value of a record stays there"


def test_a_patch_leaves_what_was_not_sent_and_names_what_the_source_changed(
    caller: Caller, account: CrmAccount, sandbox: Sandbox
) -> None:
    """A PATCH with one field was reported to reset others."""
    made = caller.write("customers", "create", values={"name": "Still", "website": "https://a.de"})
    remote_id = int(made.entry.remote_id or 0)

    def reset() -> None:
        account.edit("organizations", remote_id, website="https://anders.de")

    sandbox.faults.before(2, reset, path=ORGANIZATIONS)
    changed = caller.write(
        "customers", "update", remote_id=str(remote_id), values={"name": "Stiller"}
    )

    assert changed.changes == {"website": ("https://a.de", "https://anders.de")}


@pytest.mark.parametrize("kind", [*LOST["made"], *LOST["not made"]])
def test_a_create_whose_answer_is_lost_is_one_record(
    caller: Caller, account: CrmAccount, sandbox: Sandbox, kind: str
) -> None:
    assert_made_once(caller, account, sandbox, kind, f"Verloren {kind}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [41, pytest.param(500, marks=pytest.mark.long)])
def test_creates_whose_answers_are_lost_are_as_many_records(
    caller: Caller, account: CrmAccount, sandbox: Sandbox, world: World, count: int
) -> None:
    """In every way in turn: with the nine above fifty in each run of the suite.

    Another run has the tables meanwhile, so that all are brought in together afterwards.
    """
    hasty = Caller(world, Timing(settle=timedelta(0), tables_seconds=0.0))
    kinds = cycle([*LOST["made"], *LOST["not made"]])
    with walk_lock(world.warehouse, SCOPE):
        made = [
            assert_made_once(
                hasty, account, sandbox, kind, f"Verloren {number} von {count}", status=ACCEPTED
            )
            for number, kind in zip(range(count), kinds, strict=False)
        ]
    settled = caller.engine().do([outcome.entry for outcome in made])

    assert {each.status for each in settled if isinstance(each, WriteOutcome)} == {201}
    assert len({outcome.entry.remote_id for outcome in made}) == len(settled) == count


def assert_made_once(
    caller: Caller,
    account: CrmAccount,
    sandbox: Sandbox,
    kind: str,
    name: str,
    *,
    status: int = 201,
) -> WriteOutcome:
    """The caller sends it again with its key until it has an answer, which is returned."""
    sandbox.faults.add(kind, path=ORGANIZATIONS)
    outcome: WriteOutcome | None = None
    for _ in range(4):
        try:
            outcome = caller.write("customers", "create", values={"name": name}, key=name)
            break
        except OutcomeUnknown:
            continue

    assert outcome is not None
    assert outcome.status == status
    assert [str(row["id"]) for row in named(account, name)] == [outcome.entry.remote_id]
    return outcome


def test_a_create_that_may_still_come_is_not_made_again(
    account: CrmAccount, sandbox: Sandbox, world: World
) -> None:
    """The source may need longer than a caller waits."""
    patient = Caller(world, Timing(settle=timedelta(minutes=5)))
    sandbox.faults.add("http_500", path=ORGANIZATIONS)
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            patient.write("customers", "create", values={"name": "Spät"}, key="late")
    account.create("organizations", name="Spät")
    done = patient.write("customers", "create", values={"name": "Spät"}, key="late")

    assert done.status == 201
    assert len(named(account, "Spät")) == 1


def test_two_equal_creates_that_are_both_lost_are_two_records(
    caller: Caller, account: CrmAccount, sandbox: Sandbox
) -> None:
    """A look-up by values must not take another write's record."""
    for key in ("first", "second"):
        sandbox.faults.add("lost_answer", path=ORGANIZATIONS)
        caller.write("customers", "create", values={"name": "Zwilling"}, key=key)

    assert len(named(account, "Zwilling")) == 2


def test_of_two_writers_with_one_version_one_wins(
    caller: Caller, world: World, account: CrmAccount
) -> None:
    made = caller.write("customers", "create", values={"name": "Umkämpft"})
    assert made.row is not None
    seen, ends = version("customers", made.row), list[str]()

    def write(name: str) -> None:
        try:
            caller.write(
                "customers",
                "update",
                remote_id=made.entry.remote_id,
                values={"name": name},
                if_match=seen,
            )
            ends.append(name)
        except RecordMoved as error:
            ends.append(error.code)

    writers = [threading.Thread(target=write, args=(name,)) for name in ("Eins", "Zwei")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    (winner,) = set(ends) - {"record_moved"}
    assert sorted(ends) == sorted([winner, "record_moved"])
    assert account.get("organizations", int(made.entry.remote_id or 0))["name"] == winner
    assert row_of(world, made.entry.remote_id)["name"] == winner


def test_a_version_covers_custom_fields_of_the_same_second(
    caller: Caller, account: CrmAccount, sandbox: Sandbox
) -> None:
    """The source's edit times have whole seconds; two edits of a custom field may share one."""
    book = account.fields["organizations"]
    choice = next(each for each in book if each.is_custom and each.type == "enum")
    first, second, *_ = [each.id for each in choice.options or ()]
    sandbox.clock.freeze()
    try:
        made = caller.write(
            "customers", "create", values={"name": "x"}, custom={choice.name: first}
        )
        assert made.row is not None
        account.edit(
            "organizations",
            int(made.entry.remote_id or 0),
            custom_fields={choice.code: second},
        )

        with pytest.raises(RecordMoved):
            caller.write(
                "customers",
                "update",
                remote_id=made.entry.remote_id,
                custom={choice.name: first},
                if_match=version("customers", made.row),
            )
    finally:
        sandbox.clock.thaw()


def refused(caller: Caller, mart: str, verb: Verb, **more: Any) -> PipelineError:
    with pytest.raises(PipelineError) as error:
        caller.write(mart, verb, **more)
    return error.value


def test_each_failure_is_the_documented_one_and_nothing_is_half_done(
    caller: Caller, account: CrmAccount, sandbox: Sandbox
) -> None:
    """Scope, archived deal, validation by the source; each may be sent again later."""
    before = len(account.history)
    sandbox.faults.add("scope_403", path=ORGANIZATIONS)
    no_right = refused(caller, "customers", "create", values={"name": "x"}, key="right")
    gone = refused(caller, "customers", "update", remote_id="999999", values={"name": "x"})
    wrong = refused(caller, "customers", "create", values={"name": "x", "employee_count": -1})
    short = refused(caller, "leads", "create", values={"name": "x"})
    assert len(account.history) == before
    account.edit("deals", 1, is_archived=True)
    archived = refused(caller, "deals", "update", remote_id="1", values={"name": "x"})
    reopened = caller.write("deals", "update", remote_id="1", values={"is_archived": False})
    unknown = refused(
        caller, "deals", "create", values={"name": "x", "lost_reason": "zu früh verloren"}
    )

    assert isinstance(no_right, ScopeMissing)
    assert isinstance(gone, RecordGone)
    assert isinstance(wrong, WriteInvalid)
    assert isinstance(short, WriteInvalid)
    assert isinstance(archived, RecordNotWritable)
    assert reopened.status == 200
    assert isinstance(unknown, RefusedBySource)
    assert [each["field"] for each in unknown.details] == ["lost_reason"]
    assert caller.write("customers", "create", values={"name": "x"}, key="right").status == 201


def test_writing_is_off_unless_the_tenant_allows_it(
    caller: Caller, world: World, sandbox: Sandbox
) -> None:
    allow_writes(world, "deals")
    calls = len(sandbox.requests)

    with pytest.raises(WritingForbidden):
        caller.write("customers", "create", values={"name": "Verboten"})
    assert len(sandbox.requests) == calls


def test_options_and_custom_fields_are_set_by_label_and_refused_by_definition(
    caller: Caller, account: CrmAccount, sandbox: Sandbox
) -> None:
    book = account.fields["organizations"]
    choice = next(each for each in book if each.is_custom and each.type == "enum")
    label = (choice.options or ())[0].label
    calls = len(sandbox.requests)
    with pytest.raises(WriteInvalid) as error:
        caller.write(
            "customers",
            "create",
            values={"name": "x", "labels": ["Nie"]},
            custom={choice.name: "Nie", "gibt es nicht": 1},
        )
    assert len(sandbox.requests) == calls
    made = caller.write(
        "customers",
        "create",
        values={"name": "x", "labels": ["Kunde"]},
        custom={choice.name: label},
    )

    assert {each["field"] for each in error.value.details} == {
        "labels",
        f"custom_fields.{choice.name}",
        "custom_fields.gibt es nicht",
    }
    assert made.row is not None
    assert made.row["labels"] == ["Kunde"]
    stored = account.get("organizations", int(made.entry.remote_id or 0))
    assert stored["custom_fields"][choice.code] == (choice.options or ())[0].id


def test_a_custom_field_that_only_the_system_sets_is_refused_before_any_call(
    caller: Caller, account: CrmAccount, sandbox: Sandbox, world: World
) -> None:
    """The source's own definition says so, as it was last read."""
    book = account.fields["organizations"]
    field = next(each for each in book if each.is_custom and each.type == "varchar")
    book.change(field.code, is_writable=False)
    world.sync(entities=["organization_fields"])
    calls = len(sandbox.requests)
    with pytest.raises(WriteInvalid) as error:
        caller.write("customers", "create", values={"name": "x"}, custom={field.name: "y"})
    assert len(sandbox.requests) == calls
    book.change(field.code, is_writable=True)
    world.sync(entities=["organization_fields"])
    made = caller.write("customers", "create", values={"name": "x"}, custom={field.name: "y"})

    assert [each["issue"] for each in error.value.details] == [
        "is read-only: the system alone sets it"
    ]
    assert made.status == 201


def test_a_change_costs_seven_tokens_and_a_create_six(caller: Caller, sandbox: Sandbox) -> None:
    """A record that is read again by its own address costs 1; by a list it cost 10."""
    before = sandbox.requests.tokens_spent
    made = caller.write("customers", "create", values={"name": "Billig"})
    between = sandbox.requests.tokens_spent
    caller.write("customers", "update", remote_id=made.entry.remote_id, values={"name": "Neu"})

    assert (between - before, sandbox.requests.tokens_spent - between) == (6, 7)


def test_a_write_waits_for_a_running_sync_and_is_in_the_tables(
    account: CrmAccount, world: World
) -> None:
    """The run has the lock; it serves the signal at its next chunk. Without one, 202 is true."""
    hasty = Caller(world, Timing(settle=timedelta(0), tables_seconds=0.2))
    with walk_lock(world.warehouse, SCOPE):
        waiting = hasty.write("customers", "create", values={"name": "Wartet"}, key="waits")
    done = hasty.write("customers", "create", values={"name": "Wartet"}, key="waits")

    assert (waiting.status, waiting.row) == (ACCEPTED, None)
    assert (done.status, done.row and done.row["name"]) == (201, "Wartet")
    assert len(named(account, "Wartet")) == 1


def test_an_asynchronous_write_is_settled_in_the_background_and_a_conflict_waits_for_a_person(
    caller: Caller, account: CrmAccount, world: World
) -> None:
    made = caller.write("customers", "create", values={"name": "Später"})
    assert made.row is not None
    remote_id, seen = made.entry.remote_id, version("customers", made.row)
    entry = intended(
        world.warehouse,
        SCOPE,
        WriteRequest(
            "customers",
            "update",
            "a test",
            {"name": "Danach"},
            remote_id=remote_id,
            if_match=seen,
            is_async=True,
        ),
    )
    account.edit("organizations", int(remote_id or 0), name="Dazwischen")
    settle_due(world.warehouse, world.settings, AT_ONCE)
    with world.warehouse.transaction(tenant=ACME) as connection:
        problems = [each for each in open_problems(connection, ACME) if each.kind == "write"]
        waiting = outbox.entry_of(connection, ACME, entry.id)
        decided = review.decide(connection, SCOPE, "customers", "overwrite", who="somebody")
    settled = settle_due(world.warehouse, world.settings, AT_ONCE)

    assert [(each.subject, each.count) for each in problems] == [("customers", 1)]
    assert waiting is not None
    assert waiting.state == "conflict"
    assert (decided, settled) == (1, 1)
    assert account.get("organizations", int(remote_id or 0))["name"] == "Danach"
    assert row_of(world, remote_id)["name"] == "Danach"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ("writes_allowed = '{contacts}'", "writing_forbidden"),
        ("entities_off = '{organizations}'", "entity_not_synced"),
    ],
)
def test_a_write_that_waits_is_not_sent_once_the_tenant_forbids_it(
    account: CrmAccount, world: World, settings: str, code: str
) -> None:
    """An admin who stops an app that writes by mistake stops what it has queued, too."""
    request = WriteRequest(
        "customers", "create", "a test", {"name": f"Zu spät {code}"}, is_async=True
    )
    entry = intended(world.warehouse, SCOPE, request)
    set_settings(world, settings)

    settle_due(world.warehouse, world.settings, AT_ONCE)

    set_settings(world, "writes_allowed = '{all}', entities_off = '{}'")
    with world.warehouse.transaction(tenant=ACME) as connection:
        ended = outbox.entry_of(connection, ACME, entry.id)
    assert ended is not None
    assert (ended.state, ended.answer and ended.answer["code"]) == ("refused", code)
    assert named(account, f"Zu spät {code}") == []


def set_settings(world: World, assignments: str) -> None:
    with world.warehouse.transaction(tenant=ACME) as connection:
        connection.execute(f"update integration.sync_settings set {assignments}".encode())


def test_a_record_is_matched_before_one_is_made(caller: Caller, account: CrmAccount) -> None:
    def sent(by: Any, value: str, policy: Any, **values: Any) -> WriteOutcome:
        match = Match(by, value, policy)
        return caller.write("contacts", "create", values=values, match=match)

    first = sent("external_key", "k-1", "upsert", name="Ada Alt", emails=["Ada@Firma.example"])
    again = sent("external_key", "k-1", "upsert", name="Ada Neu")
    by_email = sent("email", "ada@firma.EXAMPLE", "update_only", name="Ada Drei")
    with pytest.raises(Duplicate):
        sent("email", "ada@firma.example", "create_only", name="Ada Vier")
    with pytest.raises(NoMatch):
        sent("email", "nobody@firma.example", "update_only", name="Niemand")

    assert (first.status, again.status, by_email.status) == (201, 200, 200)
    assert first.entry.remote_id == again.entry.remote_id == by_email.entry.remote_id
    assert account.get("persons", int(first.entry.remote_id or 0))["name"] == "Ada Drei"


def test_a_create_by_a_match_whose_answer_is_lost_is_one_record_with_the_value(
    caller: Caller, account: CrmAccount, sandbox: Sandbox
) -> None:
    last = account.records["persons"].last_id
    sandbox.faults.add("lost_answer", path="/api/v2/persons")
    match = Match("email", "lost@match.example")
    made = caller.write("contacts", "create", values={"name": "Lost"}, match=match, key="lost")

    assert (made.status, account.records["persons"].last_id) == (201, last + 1)
    assert made.row is not None
    assert made.row["email"] == "lost@match.example"
    assert made.entry.sent_columns == ["emails", "name"]


def test_a_matched_record_that_is_gone_is_made_again_with_the_value(
    caller: Caller, account: CrmAccount
) -> None:
    def sent(name: str) -> WriteOutcome:
        match = Match("email", "gone@match.example")
        return caller.write("contacts", "create", values={"name": name}, match=match)

    first, changed = sent("Gone"), sent("Going")
    account.delete("persons", int(first.entry.remote_id or 0))
    again = sent("Back")

    assert (first.status, changed.status, again.status) == (201, 200, 201)
    assert changed.entry.sent_columns == ["name"]
    assert again.row is not None
    assert again.row["email"] == "gone@match.example"


@pytest.mark.parametrize("policy", ["upsert", "update_only"])
@pytest.mark.parametrize("is_known", [True, False], ids=["before", "with the write"])
def test_a_key_follows_a_record_that_was_merged_to_the_one_that_stays(
    caller: Caller, account: CrmAccount, world: World, *, policy: Any, is_known: bool
) -> None:
    """A person has cleaned up the CRM; the app's record must not be made a third time."""

    def sent(key: str, name: str, policy: Any = "upsert") -> WriteOutcome:
        match = Match("external_key", key, policy)
        return caller.write("customers", "create", values={"name": name}, match=match)

    run = f"{policy} {is_known}"
    keys = [f"{name} {run}" for name in ("first", "second", "third")]
    ids = [int(sent(key, key).entry.remote_id or 0) for key in keys]
    for number, (loser, survivor) in enumerate(pairwise(ids)):
        account.merge("organizations", loser, survivor)
        stone = Tombstone(str(loser), "merged", str(survivor))
        at = datetime.now(UTC) + timedelta(seconds=number)
        notice = Notice(f"{run} {loser}", "organizations", str(loser), at, tombstone=stone)
        receive(world.warehouse, SCOPE, "hook", [notice])
    if is_known:
        assert serve_waiting(world.warehouse, world.settings, SCOPE).errors == ()
    last = account.records["organizations"].last_id
    changed = sent(keys[0], f"Changed {run}", policy)

    assert (changed.status, changed.entry.remote_id) == (200, str(ids[-1]))
    assert account.get("organizations", ids[-1])["name"] == f"Changed {run}"
    assert account.records["organizations"].last_id == last
    account.delete("organizations", ids[-1])
    assert sent(keys[0], f"Again {run}").status == 201, "the one that stayed is deleted"


def test_a_key_of_another_request_is_refused(caller: Caller) -> None:
    caller.write("customers", "create", values={"name": "Schlüssel"}, key="same")

    with pytest.raises(WriteKeyReused):
        caller.write("customers", "create", values={"name": "Anders"}, key="same")


def test_a_spent_day_writes_nothing_and_the_same_key_may_come_again(
    caller: Caller, account: CrmAccount, sandbox: Sandbox, world: World
) -> None:
    before = len(account.history)
    sandbox.faults.add("daily_429", path=ORGANIZATIONS)
    by_source = refused(caller, "customers", "create", values={"name": "Teuer"}, key="budget")
    by_us = refused(caller, "customers", "create", values={"name": "Teuer"}, key="budget")
    assert len(account.history) == before
    with world.warehouse.transaction(tenant=ACME) as connection:  # the next day
        connection.execute("delete from integration.budget_statements")

    done = caller.write("customers", "create", values={"name": "Teuer"}, key="budget")

    assert isinstance(by_source, BudgetSpent)
    assert isinstance(by_us, BudgetSpent)
    assert done.status == 201
    assert len(named(account, "Teuer")) == 1


def test_a_revoked_grant_writes_nothing(
    caller: Caller, sandbox: Sandbox, account: CrmAccount, world: World
) -> None:
    before = len(account.history)
    sandbox.faults.add("unauthorized_401", times=5)

    error = refused(caller, "customers", "create", values={"name": "x"}, key="revoked")

    assert isinstance(error, ReauthNeeded)
    assert len(account.history) == before
    with world.warehouse.transaction() as connection:
        connection.execute("update integration.connections set state = 'connected'")
