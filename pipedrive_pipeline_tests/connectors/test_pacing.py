"""A healthy run is never refused for its speed."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import count
from time import monotonic
from typing import Any

import pytest

from pipedrive_pipeline.connectors.answers import RateLimits, SourceCall
from pipedrive_pipeline.connectors.http import Client
from pipedrive_pipeline.connectors.pacing import Pacer, shared_pacer
from pipedrive_pipeline.connectors.pipedrive.dialect import PipedriveDialect
from pipedrive_pipeline.connectors.pipedrive.envelope import listed
from pipedrive_pipeline.connectors.transport import Clock
from pipedrive_pipeline_tests.connectors.doubles import FakeVault, run
from pipedrive_pipeline_tests.connectors.scripted import ReceivedRequest, Reply, as_json, scripted

WINDOW_SECONDS = 2.0


@dataclass
class VirtualTime:
    """Time that passes only while everybody waits, as far as the first of them waits for."""

    seconds: float = 0.0
    sleepers: list[tuple[float, int, asyncio.Future[None]]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    async def sleep(self, seconds: float) -> None:
        """Wait until the time has come."""
        wakes = asyncio.get_running_loop().create_future()
        heapq.heappush(self.sleepers, (self.seconds + seconds, next(self.numbers), wakes))
        await wakes

    @property
    def clock(self) -> Clock:
        """Returns the clock for the code under test."""
        return Clock(monotonic_seconds=lambda: self.seconds, sleep=self.sleep)

    async def run(self, acts: list[Coroutine[Any, Any, None]]) -> None:
        """Let all of them act until they end."""
        tasks = [asyncio.create_task(act) for act in acts]
        while not all(task.done() for task in tasks):
            for _ in range(4):
                await asyncio.sleep(0)
            if self.sleepers:
                seconds, _, wakes = heapq.heappop(self.sleepers)
                if not wakes.done():  # else whoever slept was cancelled
                    self.seconds = seconds
                    wakes.set_result(None)
        await asyncio.gather(*tasks)


@dataclass
class RollingWindow:
    """Counts calls as Pipedrive does, a share of an answer's time after they begin."""

    limit: int
    answer_seconds: float = 0.25
    counted_after: float = 0.5  # of that time
    is_named: bool = True
    time: VirtualTime = field(default_factory=VirtualTime)
    arrivals: list[float] = field(default_factory=list)

    def arrive(self) -> RateLimits:
        """Counts one call; returns what its answer tells."""
        now = self.time.seconds
        self.arrivals.append(now)
        inside = sum(at > now - WINDOW_SECONDS for at in self.arrivals)
        assert inside <= self.limit, "429"
        if not self.is_named:
            return RateLimits()
        return RateLimits(
            burst_limit=self.limit, burst_left=self.limit - inside, burst_reset_seconds=2.0
        )


def called(calls: int, window: RollingWindow, *, callers: int = 8, pacers: int = 1) -> float:
    """Seconds until so many calls were answered, by callers who share so many pacers."""
    time, left = window.time, iter(range(calls))
    shared = [Pacer(WINDOW_SECONDS, time.clock) for _ in range(pacers)]

    async def caller(pacer: Pacer) -> None:
        for _ in left:
            number = await pacer.turn()
            await time.sleep(window.answer_seconds * window.counted_after)
            limits = window.arrive()
            await time.sleep(window.answer_seconds * (1 - window.counted_after))
            pacer.end(number, limits)

    run(time.run([caller(shared[each % pacers]) for each in range(callers)]))
    return time.seconds


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 20, 80, 480])
@pytest.mark.parametrize("answer_seconds", [0.01, 0.25, 1.0])
def test_no_window_ever_holds_more_than_the_limit(limit: int, answer_seconds: float) -> None:
    """For every limit and every position of the window."""
    called(2 * limit + 5, RollingWindow(limit, answer_seconds))


@pytest.mark.parametrize(
    ("calls", "limit", "answer_seconds", "counted_after"),
    [(165, 20, 0.25, 0.5), (225, 80, 0.05, 0.5), (165, 20, 0.4, 0.01), (165, 20, 0.6, 0.01)],
)
def test_most_of_the_window_is_used(
    calls: int, limit: int, answer_seconds: float, counted_after: float
) -> None:
    """A pace too careful doubles the time of a first sync.

    An answer that came late once told of calls that were forgotten: they seemed to be another
    process's, and half of the window was left to it.
    """
    seconds = called(calls, RollingWindow(limit, answer_seconds, counted_after))

    # Nobody tells when within an answer's time a call was counted.
    window_seconds = WINDOW_SECONDS + answer_seconds * (1 - counted_after)
    assert seconds <= 1.2 * calls / limit * window_seconds


@pytest.mark.parametrize("pacers", [2, 3, 4])
def test_processes_that_share_a_token_share_its_window(pacers: int) -> None:
    """None knows of the others but by what the answers say is left."""
    seconds = called(165, RollingWindow(20), callers=4 * pacers, pacers=pacers)

    assert seconds <= 2.5 * 165 / 20 * WINDOW_SECONDS


def test_without_a_known_limit_nothing_waits_once_an_answer_came() -> None:
    """Not every system names one; a refusal is then waited out by the client."""
    window = RollingWindow(500, is_named=False)

    seconds = called(81, window)

    assert window.arrivals.count(window.arrivals[0]) == 1, "the first call goes alone"
    assert seconds <= 0.25 * (1 + 10 + 1)


def begun_after(told: RateLimits) -> float:
    """Seconds that a call waits after an answer."""
    time = VirtualTime()

    async def act() -> None:
        pacer = Pacer(WINDOW_SECONDS, time.clock)
        pacer.end(await pacer.turn(), told)
        await time.run([wait_for(pacer)])

    async def wait_for(pacer: Pacer) -> None:
        await pacer.turn()

    run(act())
    return time.seconds


def test_a_window_that_another_process_fills_is_sat_out() -> None:
    """The same token may be in use elsewhere; the headers tell."""
    told = RateLimits(burst_limit=80, burst_left=0, burst_reset_seconds=1.5)

    assert 1.5 <= begun_after(told) <= 2 * WINDOW_SECONDS


def test_a_reset_beyond_the_window_is_not_believed() -> None:
    """A header in another unit must not stop a run for hours."""
    told = RateLimits(burst_limit=80, burst_left=0, burst_reset_seconds=1.7e9)

    assert begun_after(told) < 2 * WINDOW_SECONDS


def test_the_clients_of_a_tenant_share_one_pacer() -> None:
    """Records are looked up by a client of their own while lists are read by another."""
    time = VirtualTime()
    clock = time.clock

    one = shared_pacer("pipedrive", "acme", WINDOW_SECONDS, clock)

    assert shared_pacer("pipedrive", "acme", WINDOW_SECONDS, clock) is one
    assert shared_pacer("pipedrive", "globex", WINDOW_SECONDS, clock) is not one
    assert shared_pacer("hubspot", "acme", WINDOW_SECONDS, clock) is not one


@pytest.mark.slow
@pytest.mark.parametrize("limit", [20, 80])
def test_a_run_of_many_calls_at_once_provokes_no_429(limit: int) -> None:
    """Against a server that counts a rolling window as Pipedrive does.

    A shorter window would leave a busy machine less time to be late than the margin allows for.
    """
    arrived: deque[float] = deque()

    def script(_: ReceivedRequest) -> Reply:
        now = monotonic()
        arrived.append(now)
        while arrived[0] <= now - WINDOW_SECONDS:
            arrived.popleft()
        if len(arrived) > limit:
            return as_json({"error": "Request over limit"}, 429)
        headers = {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(limit - len(arrived)),
            "x-ratelimit-reset": "2",
        }
        body = {"success": True, "data": [], "additional_data": {"next_cursor": None}}
        return as_json(body, headers=headers)

    async def act() -> list[int | None]:
        async with scripted(script) as server:
            vault = FakeVault(server.url)
            async with Client(PipedriveDialect(), vault.access) as client:
                ask = SourceCall("list persons", "/api/v2/persons", 10)
                await client.fetch(ask, listed)
                await asyncio.gather(*(client.fetch(ask, listed) for _ in range(2 * limit)))
        return [call.status for call in vault.calls]

    statuses = run(act())

    assert set(statuses) == {200}
    assert len(statuses) == 2 * limit + 1
