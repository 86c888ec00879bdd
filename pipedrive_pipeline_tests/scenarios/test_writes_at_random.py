"""Writes, edits at the source, faults and kills in any order: everything ends equal, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from pipedrive_pipeline.connectors.writing import Verb
from pipedrive_pipeline.errors import Transient
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.sync.writes.comparison import version
from pipedrive_pipeline.sync.writes.errors import RecordMoved, WriteError
from pipedrive_pipeline.sync.writes.steps import ACCEPTED, WriteOutcome
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.scenarios.world import ACME, World, world_at
from pipedrive_pipeline_tests.scenarios.writing import (
    Caller,
    allow_writes,
    register_without_waits,
)

SOURCE = {"customers": ("organizations", "name"), "deals": ("deals", "title")}
FAULTS = (
    "lost_answer", "reset_mid_body", "truncated_json", "http_500", "http_503", "html_200",
    "burst_429_retry_after",
)  # fmt: skip
NAMES = ("neu", "anders", "dort")  # of records that a write or an edit here has named
TRIES = 12  # of one write, with the same key
STEPS_OF_A_MACHINE = 40
TRANSACTIONS = 40  # of one write, at least: a kill may come before each


class Killed(BaseException):
    """The process ended here: no handler of ours runs, Postgres rolls back and frees its locks."""


@dataclass
class Countdown:
    """How many transactions may still begin."""

    left: int | None = None

    def tick(self) -> None:
        """Ends the process when none may."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Killed


@dataclass(frozen=True)
class MortalWarehouse(Warehouse):
    """A warehouse whose process is killed before one of its transactions."""

    countdown: Countdown = field(default_factory=Countdown, kw_only=True)

    @contextmanager
    def transaction(
        self, tenant: Tenant | None = None, search_path: tuple[str, ...] = ()
    ) -> Iterator[psycopg.Connection]:
        """See `Warehouse.transaction`."""
        self.countdown.tick()
        with super().transaction(tenant, search_path) as connection:
            yield connection


@dataclass(frozen=True)
class WritingWorld:
    """A synced tenant, its source, and what every record must be."""

    world: World
    sandbox: Sandbox
    countdown: Countdown
    records: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # mart, remote id


@pytest.fixture
def written(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WritingWorld]:
    register_without_waits(monkeypatch)
    with serve(seeded(5, 5, deals=5), has_limits=False) as sandbox:
        world = world_at(database_url, tmp_path)
        world.connect(ACME, sandbox)
        databases.read_everything(world.warehouse, ACME)
        allow_writes(world)
        world.sync(sync_type="full")
        countdown = Countdown()
        mortal = MortalWarehouse(world.warehouse.url, countdown=countdown)
        yield WritingWorld(replace(world, warehouse=mortal), sandbox, countdown)


class Machine(RuleBasedStateMachine):
    """Each write is repeated with its key until its outcome is known."""

    written: ClassVar[WritingWorld]

    def __init__(self) -> None:
        super().__init__()
        self.world = self.written.world
        self.records = dict[tuple[str, str], dict[str, Any]]()  # those of this machine
        self.caller = Caller(self.world)
        self.account = self.written.sandbox.account

    def do(self, mart: str, verb: Verb, **more: Any) -> WriteOutcome | WriteError:
        """The definite outcome of one write."""
        key = f"write {self.written.sandbox.requests.count} {len(self.records)}"
        for _ in range(TRIES):
            try:
                done = self.caller.write(mart, verb, key=key, **more)
            except WriteError as error:
                return error
            except (Killed, Transient):
                continue
            if done.status != ACCEPTED:
                return done
        raise AssertionError(f"{mart} {verb} has no outcome after {TRIES} tries")

    def chosen(self, data: st.DataObject, mart: str | None = None) -> tuple[str, str]:
        """A record that was written here and is there."""
        keys = sorted(key for key in self.records if mart in (None, key[0]))
        return data.draw(st.sampled_from(keys))

    @rule(mart=st.sampled_from(sorted(SOURCE)))
    def create(self, mart: str) -> None:
        """A record is made."""
        name = f"neu {self.written.sandbox.requests.count}"
        done = self.do(mart, "create", values={"name": name})
        assert isinstance(done, WriteOutcome), done
        assert done.status == 201
        assert done.entry.remote_id is not None
        self.records[mart, done.entry.remote_id] = {"name": name}

    @precondition(lambda self: self.records)
    @rule(data=st.data(), is_checked=st.booleans(), is_moved=st.booleans())
    def patch(self, data: st.DataObject, *, is_checked: bool, is_moved: bool) -> None:
        """A record is renamed, perhaps with the version that was read, perhaps after an edit."""
        mart, remote_id = self.chosen(data)
        name = f"anders {self.written.sandbox.requests.count}"
        more: dict[str, Any] = {}
        if is_checked:
            more["if_match"] = version(mart, self.row(mart, remote_id))
            if is_moved:
                self.edit(mart, remote_id)
        done = self.do(mart, "update", remote_id=remote_id, values={"name": name}, **more)
        if is_checked and is_moved:
            assert isinstance(done, RecordMoved), done
            return
        if isinstance(done, RecordMoved):  # an edit at the source that no sync has read
            assert is_checked
            return
        assert isinstance(done, WriteOutcome), done
        self.records[mart, remote_id] = {"name": name}

    @precondition(lambda self: self.records)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """A record is deleted."""
        mart, remote_id = self.chosen(data)
        done = self.do(mart, "delete", remote_id=remote_id)
        assert isinstance(done, WriteOutcome), done
        del self.records[mart, remote_id]

    @precondition(lambda self: any(mart == "deals" for mart, _ in self.records))
    @rule(data=st.data(), verb=st.sampled_from(("win", "lose", "reopen")))
    def close(self, data: st.DataObject, verb: Verb) -> None:
        """A deal is won, lost or opened again."""
        mart, remote_id = self.chosen(data, "deals")
        done = self.do(mart, verb, remote_id=remote_id)
        assert isinstance(done, WriteOutcome), done
        status = {"win": "won", "lose": "lost", "reopen": "open"}[verb]
        assert done.row is not None
        assert done.row["status"] == status
        self.records[mart, remote_id]["status"] = status

    @precondition(lambda self: self.records)
    @rule(data=st.data())
    def edit_at_the_source(self, data: st.DataObject) -> None:
        """Somebody renames a record in the CRM."""
        self.edit(*self.chosen(data))

    @rule(kind=st.sampled_from(FAULTS), after=st.integers(0, 3))
    def fault(self, kind: str, after: int) -> None:
        """A coming request fails, or its answer is lost."""
        self.written.sandbox.faults.add(kind, after=after)

    @rule(transactions=st.integers(0, TRANSACTIONS))
    def kill(self, transactions: int) -> None:
        """The next write's process ends before one of its transactions."""
        self.written.countdown.left = transactions

    def edit(self, mart: str, remote_id: str) -> None:
        """Renames a record at the source."""
        entity, title = SOURCE[mart]
        name = f"dort {len(self.account.history)}"
        self.account.edit(entity, int(remote_id), **{title: name})
        self.records[mart, remote_id]["name"] = name

    def row(self, mart: str, remote_id: str) -> dict[str, Any]:
        """The record's row in the tables."""
        rows = World(Warehouse(self.world.warehouse.url), self.world.settings)
        return next(r for r in rows.rows("crm", mart) if r["remote_id"] == remote_id)

    def teardown(self) -> None:
        """Nothing is left for the next machine."""
        self.written.records.update(self.records)
        self.written.sandbox.faults.clear()
        self.written.countdown.left = None


def assert_all_is_equal(written: WritingWorld) -> None:
    """Source, tables and what the answers said; no record twice."""
    world, account = written.world, written.sandbox.account
    world.sync()
    for mart, (entity, title) in SOURCE.items():
        table = account.records[entity]
        records = (table.get(row_id) for row_id in range(1, table.last_id + 1))
        live = {str(row["id"]): row[title] for row in records if row and not row["is_deleted"]}
        ours = {
            key: values["name"] for (name, key), values in written.records.items() if name == mart
        }
        made = {
            key: value
            for key, value in live.items()
            if str(value).startswith(("neu", "anders", "dort"))
        }
        rows = {
            row["remote_id"]: row["name"]
            for row in world.rows("crm", mart)
            if row["remote_id"] in live and row["deleted_at"] is None
        }
        assert made == ours
        assert {key: rows.get(key) for key in ours} == ours
    unsettled = [row for row in world.rows("integration", "outbox") if row["settled_at"] is None]
    assert [row["state"] for row in unsettled] == []


def run(written: WritingWorld, steps: int, *, is_same_each_time: bool) -> None:
    run_state_machine_as_test(
        type("BoundMachine", (Machine,), {"written": written}),
        settings=settings(
            max_examples=max(1, steps // STEPS_OF_A_MACHINE),
            stateful_step_count=min(steps, STEPS_OF_A_MACHINE),
            derandomize=is_same_each_time,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert_all_is_equal(written)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_dozen_operations_end_with_source_tables_and_answers_equal(
    written: WritingWorld,
) -> None:
    """Each write takes seconds: it waits as a program does that meets a fault."""
    run(written, 12, is_same_each_time=True)


@pytest.mark.long
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("steps", [200, 2_000])
def test_many_operations_end_with_source_tables_and_answers_equal(
    written: WritingWorld, steps: int
) -> None:
    run(written, steps, is_same_each_time=False)
