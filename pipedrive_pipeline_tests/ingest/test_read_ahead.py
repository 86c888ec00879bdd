"""The reading thread: how far it reads ahead, and that it ends with its consumer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pipedrive_pipeline.connectors.contract import (
    Account,
    ApiCall,
    CursorState,
    Entity,
    Page,
    RecordStatus,
    Resume,
    next_number,
)
from pipedrive_pipeline.errors import PipelineError, ScopeMissing, SourceBroke, SourceUnavailable
from pipedrive_pipeline.ingest import read_ahead as reading_ahead
from pipedrive_pipeline.ingest.batches import Batch, batch_of
from pipedrive_pipeline.ingest.read_ahead import (
    Bound,
    EntityWalk,
    Meter,
    PageRead,
    WalkFailed,
    read_ahead,
)
from pipedrive_pipeline_tests.ingest.entities import LABELS, THINGS

PAGE_BYTES = 100
WIDE = Bound(rows=100, size_bytes=1_000_000)
WALKS = [EntityWalk(LABELS, None), EntityWalk(THINGS, None)]


@dataclass
class PagedSource:
    """A source of numbered pages that records its calls."""

    count: int
    error: BaseException | None = None
    is_of_both: bool = False  # the error
    is_hanging: bool = False
    given: int = 0
    is_closed: bool = False
    has_begun: threading.Event = field(default_factory=threading.Event)
    second_is_requested: threading.Event = field(default_factory=threading.Event)

    @asynccontextmanager
    async def open(self, meter: Callable[[ApiCall], None]) -> AsyncIterator[PagedSource]:
        """Itself, until the block ends."""
        self.meter = meter
        try:
            yield self
        finally:
            self.is_closed = True

    async def pages(
        self,
        entity: Entity,
        state: CursorState | None,
        resume: Resume | None = None,
    ) -> AsyncGenerator[Page, None]:
        """Empty pages; perhaps an error, of labels alone or of both, perhaps nothing at all."""
        del state, resume
        for number in range(self.count):
            self.meter(ApiCall(f"list {entity.name}", 10, 200))
            self.given += 1
            self.has_begun.set()
            if self.given == 2:
                self.second_is_requested.set()
            if self.is_hanging:
                await asyncio.Event().wait()
            if self.error and (entity is LABELS or self.is_of_both):
                raise self.error
            is_last = number == self.count - 1
            yield Page([], next_number(), next_number(), is_last=is_last, size_bytes=PAGE_BYTES)

    async def records(self, entity: Entity, ids: list[str]) -> list[Page]:
        """Not used by these tests."""
        raise NotImplementedError

    async def record_statuses(self, entity: Entity, ids: list[str]) -> dict[str, RecordStatus]:
        """Not used by these tests."""
        raise NotImplementedError

    async def size_hint(self, entity: Entity) -> int | None:
        """Not used by these tests."""
        raise NotImplementedError

    async def account(self) -> Account:
        """Not used by these tests."""
        raise NotImplementedError


def no_meter() -> Meter:
    return Meter(lambda _call: None)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "reader"]


def test_the_pages_of_every_walk_come_in_order() -> None:
    """Walks are read at the same time."""
    source = PagedSource(3)

    with read_ahead(source.open, WALKS, no_meter(), WIDE) as events:
        outline = [(event.walk.entity.name, type(event).__name__) for event in events]

    assert sorted(outline) == [("labels", "PageRead")] * 3 + [("things", "PageRead")] * 3
    assert source.is_closed
    assert readers() == []


@pytest.mark.parametrize(
    "bound",
    [
        Bound(rows=10, size_bytes=1_000_000),  # an empty page counts as a row
        Bound(rows=1_000_000, size_bytes=10 * PAGE_BYTES),
    ],
    ids=["rows", "bytes"],
)
def test_no_more_pages_wait_than_a_chunk_may_hold(bound: Bound) -> None:
    """What is read ahead is memory; a slow database must not fill it."""
    source = PagedSource(1_000)

    with read_ahead(source.open, WALKS, no_meter(), bound) as events:
        for _ in range(5):
            next(events)
        ahead = source.given - 5

    assert ahead <= 10 + 2  # the page in the consumer's hand, and the page requested meanwhile


def test_the_next_page_is_requested_while_this_page_becomes_a_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = PagedSource(2)
    given_meanwhile: list[int] = []

    def slowly(entity: Entity, page: Page) -> Batch:
        source.second_is_requested.wait(5)
        given_meanwhile.append(source.given)
        return batch_of(entity, page)

    monkeypatch.setattr(reading_ahead, "batch_of", slowly)

    with read_ahead(source.open, WALKS[:1], no_meter(), WIDE) as events:
        list(events)

    assert given_meanwhile == [2, 2]


def test_a_reader_whose_caller_leaves_ends_at_once() -> None:
    source = PagedSource(1_000)

    with read_ahead(source.open, WALKS, no_meter(), WIDE) as events:
        next(events)

    assert readers() == []
    assert source.is_closed
    assert source.given < 1_000


@pytest.mark.timeout(10)
def test_a_reader_that_waits_for_its_source_ends_when_its_caller_leaves() -> None:
    """A source may ask for a minute's patience; an interrupted run must not sit it out."""
    source = PagedSource(1, is_hanging=True)

    with read_ahead(source.open, WALKS, no_meter(), WIDE):
        source.has_begun.wait(5)

    assert readers() == []
    assert source.is_closed


def test_a_reader_ends_when_its_caller_fails() -> None:
    def fail_amid_pages() -> None:
        with read_ahead(PagedSource(1_000).open, WALKS, no_meter(), WIDE) as events:
            next(events)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_amid_pages()

    assert readers() == []


@pytest.mark.parametrize("error", [ScopeMissing("no"), SourceBroke("odd")])
def test_an_error_of_one_entity_lets_the_next_be_read(error: PipelineError) -> None:
    with read_ahead(PagedSource(2, error).open, WALKS, no_meter(), WIDE) as events:
        event_types = [type(event).__name__ for event in events]

    assert event_types == ["WalkFailed", "PageRead", "PageRead"]


@pytest.mark.parametrize("is_of_both", [False, True])
def test_an_error_of_the_whole_source_ends_the_reading(*, is_of_both: bool) -> None:
    """Walks that are read at once all meet a dead token; a person reads of it once."""
    source = PagedSource(2, SourceUnavailable("down"), is_of_both=is_of_both)

    with read_ahead(source.open, WALKS, no_meter(), WIDE) as events:
        errors = [event.error for event in events if isinstance(event, WalkFailed)]

    assert [type(error) for error in errors] == [SourceUnavailable]


def test_an_error_that_nobody_named_reaches_the_caller() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        read_ahead(PagedSource(2, ZeroDivisionError()).open, WALKS, no_meter(), WIDE) as events,
    ):
        list(events)

    assert readers() == []


def test_calls_are_counted_for_the_entity_they_were_made_for() -> None:
    calls: list[ApiCall] = []
    meter = Meter(calls.append)

    with read_ahead(PagedSource(3).open, WALKS, meter, WIDE) as events:
        assert all(isinstance(event, PageRead) for event in events)

    assert (meter.of("labels").api_calls, meter.of("things").tokens) == (3, 30)
    assert len(calls) == 6
