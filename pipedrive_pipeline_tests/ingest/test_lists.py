"""What a source promises and the engine keeps: tokens that expire, lists of children, refusals."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipedrive_pipeline.connectors.contract import (
    Account,
    ApiCall,
    Children,
    Column,
    ColumnType,
    Cost,
    CursorState,
    Entity,
    OpaqueToken,
    Page,
    RecordStatus,
    Resume,
    Source,
    Tombstone,
    next_number,
)
from pipedrive_pipeline.connectors.refusals import SourceRefused, StateExpired
from pipedrive_pipeline.errors import GuardTripped, PipelineError, SourceUnavailable
from pipedrive_pipeline.ingest.deletions import Deletions
from pipedrive_pipeline.ingest.due_parents import DueParents
from pipedrive_pipeline.ingest.known_reads import KnownReads
from pipedrive_pipeline.ingest.outcome import EntityRead
from pipedrive_pipeline.ingest.raw import RawStore
from pipedrive_pipeline.ingest.reading import Reader
from pipedrive_pipeline.ingest.reconciliation import Reconciler
from pipedrive_pipeline.ingest.refresher import Refresher
from pipedrive_pipeline.ingest.seen_keys import SeenKeys
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.ingest.conftest import ACME, RawLoader, record
from pipedrive_pipeline_tests.ingest.entities import SYSTEM

SCOPE = Scope(ACME, SYSTEM)
KEY = Column("id", ColumnType.TEXT, "Id of the record.")
BOXES = Entity(
    name="boxes",
    label="Boxes",
    description="Boxes.",
    key=KEY,
    columns=(Column("words", ColumnType.TEXT, "A text."),),
    read=OpaqueToken(),
    cost=Cost(1, 10),
    is_required=True,
)
THINGS = Entity(
    name="box_things",
    label="Things in boxes",
    description="Things, listed by their box.",
    key=KEY,
    columns=(Column("box", ColumnType.TEXT, "Its box."),),
    read=Children(of="boxes", column="box", batch=2),
    cost=Cost(1, 10),
)


# Like a log: entries never change, only some boxes have any, and to read them all takes days.
LOGS = replace(
    THINGS,
    read=Children(
        of="boxes",
        column="box",
        batch=1,
        is_swept=False,
        due_by="words",
        first=("words", "5 open"),
        share=0.5,
    ),
    cost=Cost(10, 10),
)


@dataclass
class BoxSource:
    """Boxes with a log of changes, and the things in each box."""

    log: list[str] = field(default_factory=list)  # ids of boxes, each change once
    boxes: dict[str, str] = field(default_factory=dict)
    things: dict[str, list[str]] = field(default_factory=dict)  # by box
    gone: list[str] = field(default_factory=list)
    oldest_token: int = 0
    lists_read: list[list[str]] = field(default_factory=list)
    refusal: PipelineError | None = None  # of the lists
    lists_until_refusal: int = 0

    def put(self, box: str, *things: str, words: str = "") -> None:
        """Makes or changes a box."""
        self.boxes[box], self.things[box] = words, [*things]
        self.log.append(box)

    def remove(self, box: str) -> None:
        """Deletes a box; the next walk of changes reports it."""
        del self.boxes[box], self.things[box]
        self.log.append(box)

    @asynccontextmanager
    async def open(self, meter: Callable[[ApiCall], None]) -> AsyncIterator[Source]:
        """Itself."""
        del meter
        yield self

    async def pages(
        self, entity: Entity, state: CursorState | None, resume: Resume | None = None
    ) -> AsyncGenerator[Page, None]:
        """One page of boxes: all, or those that changed since the token."""
        del entity, resume
        token = int(str(state["token"])) if state else 0
        if state and token < self.oldest_token:
            raise StateExpired("the token is too old.")
        changed = dict.fromkeys(self.log[token:]) if state else self.boxes
        records = [
            record(id=key, words=self.boxes[key] or None) for key in changed if key in self.boxes
        ]
        gone = tuple(Tombstone(key, "deleted") for key in changed if key not in self.boxes)
        commit = {"token": str(len(self.log))}
        numbers = next_number(), next_number()
        yield Page(records, *numbers, tombstones=gone, is_last=True, commit=commit)

    async def records(self, entity: Entity, ids: list[str]) -> list[Page]:
        """The boxes of these ids, or the things in these boxes, one page a box."""
        numbers = next_number(), next_number()
        if entity is BOXES:
            known = [record(id=key, words=self.boxes[key]) for key in ids if key in self.boxes]
            return [Page(known, *numbers)]
        if self.refusal and len(self.lists_read) >= self.lists_until_refusal:
            raise self.refusal
        self.lists_read.append(ids)
        return [
            Page([record(id=thing, box=box) for thing in self.things.get(box, [])], *numbers)
            for box in ids
        ]

    async def record_statuses(self, entity: Entity, ids: list[str]) -> dict[str, RecordStatus]:
        """Deleted, all of them."""
        del entity
        return dict.fromkeys(ids, "deleted")

    async def size_hint(self, entity: Entity) -> int | None:
        """Not known."""
        del entity
        return None

    async def account(self) -> Account:
        """Not used by these tests."""
        raise NotImplementedError


@dataclass
class Boxes:
    """The source and the raw tables that are read from it."""

    source: BoxSource
    warehouse: Warehouse
    home: Path
    child: Entity = THINGS
    tokens_left: int = 1_000  # of each run

    def read(
        self, *, is_full: bool = False, entities: Sequence[Entity] | None = None
    ) -> dict[str, EntityRead]:
        """One run's reads by entity."""
        declared = (BOXES, self.child)
        due = DueParents(self.warehouse, SCOPE, declared)
        deletions, seen = Deletions(self.warehouse, SCOPE), SeenKeys(self.warehouse, SCOPE)
        raw = RawStore(self.warehouse, SCOPE, self.home / "scratch")
        shared: dict[str, Any] = {"open_source": self.source.open, "on_call": _no_meter}
        refresher = Refresher(
            entities={entity.name: entity for entity in declared},
            raw=raw,
            seen_keys=seen,
            deletions=deletions,
            due_parents=due,
            before_load=lambda: None,
            **shared,
        )
        reconciler = Reconciler(
            tenant="acme",
            seen_keys=seen,
            deletions=deletions,
            refresher=refresher,
            is_confirmed=False,
            **shared,
        )
        reader = Reader(
            raw=raw,
            seen_keys=seen,
            deletions=deletions,
            reconciler=reconciler,
            on_page=lambda _read: None,
            before_load=lambda: None,
            due_parents=due,
            known_reads=KnownReads(self.warehouse, SCOPE),
            now=lambda: datetime.now(UTC),
            tokens_left=lambda: self.tokens_left,
            **shared,
        )
        reads = reader.read(entities or declared, is_full=is_full)
        return {read.entity.name: read for read in reads}

    def live(self, entity: Entity) -> list[str]:
        """The keys in raw that are not marked as gone."""
        with self.warehouse.connect() as connection:
            rows = connection.execute(
                f"select id from {SCOPE.raw_schema}.{entity.name} as raw where not exists ("
                f"select from {SCOPE.raw_schema}.deletions as gone"
                " where gone.entity = %s and gone.id = raw.id) order by id",
                [entity.name],
            )
            return [row[0] for row in rows]


def _no_meter(_call: ApiCall) -> None:
    return None


@pytest.fixture
def boxes(loader: RawLoader) -> Boxes:
    source = BoxSource()
    for box, things in {"a": ["a1", "a2"], "b": ["b1"], "c": [], "d": ["d1"], "é/1": ["x"]}.items():
        source.put(box, *things)
    return Boxes(source, loader.warehouse, loader.home)


@pytest.mark.slow
def test_a_first_read_takes_the_lists_of_all_parents_in_batches(boxes: Boxes) -> None:
    reads = boxes.read()

    assert boxes.live(THINGS) == ["a1", "a2", "b1", "d1", "x"]
    assert boxes.source.lists_read == [["a", "b"], ["c", "d"], ["é/1"]]
    assert reads["box_things"].is_complete
    assert reads["box_things"].missing == 0


@pytest.mark.slow
def test_a_later_read_takes_the_lists_of_changed_parents_only(boxes: Boxes) -> None:
    """What a changed parent no longer lists is gone; other lists are not read."""
    boxes.read()
    boxes.source.lists_read.clear()
    boxes.source.put("a", "a2", "a3")
    boxes.source.things["b"] = []  # its box did not change, so nothing tells us

    boxes.read()

    assert boxes.source.lists_read == [["a"]]
    assert boxes.live(THINGS) == ["a2", "a3", "b1", "d1", "x"]


@pytest.mark.slow
def test_children_of_a_deleted_parent_are_gone_with_it(boxes: Boxes) -> None:
    boxes.read()
    boxes.source.remove("a")

    boxes.read()

    assert boxes.live(BOXES) == ["b", "c", "d", "é/1"]
    assert boxes.live(THINGS) == ["b1", "d1", "x"]


@pytest.mark.slow
def test_a_full_read_finds_what_no_change_told_of(boxes: Boxes) -> None:
    boxes.read()
    boxes.source.things["b"] = ["b2"]

    reads = boxes.read(is_full=True)

    assert boxes.live(THINGS) == ["a1", "a2", "b2", "d1", "x"]
    assert reads["box_things"].deleted == 1


@pytest.mark.slow
def test_an_interrupted_read_of_lists_goes_on_with_those_that_are_left(boxes: Boxes) -> None:
    """The lists that were committed are not paid for twice."""
    boxes.source.refusal = SourceUnavailable("away")
    boxes.source.lists_until_refusal = 2
    failed = boxes.read()["box_things"]
    boxes.source.refusal = None
    boxes.source.lists_read.clear()

    reads = boxes.read()

    assert not failed.is_complete
    assert boxes.source.lists_read == [["é/1"]]
    assert boxes.live(THINGS) == ["a1", "a2", "b1", "d1", "x"]
    assert reads["box_things"].is_complete
    assert reads["box_things"].missing == 0


@pytest.mark.slow
def test_a_list_whose_run_failed_stays_due(boxes: Boxes) -> None:
    """The parent's new version is in raw by then; it alone would never be read again."""
    boxes.read()
    boxes.source.put("a", "a9")
    boxes.source.refusal = SourceUnavailable("away")
    boxes.source.lists_until_refusal = 0
    boxes.read()
    boxes.source.refusal = None

    boxes.read()

    assert boxes.live(THINGS) == ["a9", "b1", "d1", "x"]


@pytest.mark.slow
def test_lists_that_suddenly_are_empty_stop_at_the_guard(boxes: Boxes) -> None:
    boxes.source.put("a", *(f"a{number}" for number in range(60)))
    boxes.read()
    boxes.source.put("a")

    read = boxes.read()["box_things"]

    assert isinstance(read.error, GuardTripped)
    assert len(boxes.live(THINGS)) == 63
    assert len(boxes.source.lists_read[-1]) == 1


@pytest.mark.slow
def test_an_expired_token_reads_everything_again_and_marks_what_is_gone(boxes: Boxes) -> None:
    """The deletion that the token would have told is found by comparison."""
    boxes.read()
    del boxes.source.boxes["d"], boxes.source.things["d"]
    boxes.source.put("f", "f1")
    boxes.source.oldest_token = 100

    reads = boxes.read()

    assert reads["boxes"].is_complete
    assert boxes.live(BOXES) == ["a", "b", "c", "f", "é/1"]
    assert reads["boxes"].cursor_after == {"token": "6"}


@pytest.mark.slow
def test_a_refused_entity_that_is_not_required_is_set_aside(boxes: Boxes) -> None:
    """Its old rows stay and are not marked as gone; the others are read."""
    boxes.read()
    boxes.source.put("a", "a1")
    boxes.source.refusal = SourceRefused("acme", "Box", "list", 402, "the plan lacks it")
    boxes.source.lists_until_refusal = 0

    reads = boxes.read()

    assert reads["box_things"].is_set_aside
    assert not reads["boxes"].is_set_aside
    assert reads["boxes"].is_complete
    assert boxes.live(THINGS) == ["a1", "a2", "b1", "d1", "x"]


@pytest.fixture
def logs(boxes: Boxes) -> Boxes:
    """Four boxes with a log, one of them open, and two without; each list costs 10 tokens."""
    boxes.child = LOGS
    for box, words in {"a": "1", "b": "5 open", "c": "9", "d": "7"}.items():
        boxes.source.put(box, f"{box}1", words=words)
    return boxes


@pytest.mark.slow
def test_only_lists_that_are_worth_it_are_read_and_the_first_ones_first(logs: Boxes) -> None:
    """`due_by` is empty in the fifth box."""
    logs.read()

    assert logs.source.lists_read == [["b"], ["c"], ["d"], ["a"]]


@pytest.mark.slow
def test_a_run_reads_as_many_lists_as_its_share_allows_and_the_next_ones_go_on(
    logs: Boxes,
) -> None:
    """Otherwise a long backfill would spend the tokens that the rest of the day needs."""
    logs.tokens_left = 45  # half of them are two lists
    runs = []
    for _ in range(4):
        reads = logs.read()
        runs.append([box for (box,) in logs.source.lists_read])
        logs.source.lists_read.clear()
        assert reads["box_things"].is_complete

    assert runs == [["b", "c"], ["d", "a"], [], []]
    assert logs.live(LOGS) == ["a1", "b1", "c1", "d1"]


@pytest.mark.slow
def test_a_full_read_of_some_lists_marks_nothing_of_the_others_as_gone(logs: Boxes) -> None:
    """No entry of a log is ever deleted."""
    logs.read()
    logs.tokens_left = 20
    logs.source.lists_read.clear()

    reads = logs.read(is_full=True)

    assert logs.source.lists_read == [["b"]]
    assert reads["box_things"].error is None
    assert logs.live(LOGS) == ["a1", "b1", "c1", "d1"]


@pytest.mark.slow
def test_a_list_is_due_when_its_column_changed_and_not_whenever_its_parent_did(
    logs: Boxes,
) -> None:
    logs.read()
    logs.source.lists_read.clear()
    logs.source.put("a", "a1", "a2", words="2")
    logs.source.put("b", "b1", "b2", words="5 open")
    logs.source.put("c", "c1", words="")

    logs.read()

    assert logs.source.lists_read == [["a"]]
    assert logs.live(LOGS) == ["a1", "a2", "b1", "c1", "d1"]
