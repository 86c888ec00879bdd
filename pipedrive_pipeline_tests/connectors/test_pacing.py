"""A healthy run is never refused for its speed."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic

import pytest

from pipedrive_pipeline.connectors.answers import RateLimits, SourceCall
from pipedrive_pipeline.connectors.http import Client
from pipedrive_pipeline.connectors.pacing import Pacer
from pipedrive_pipeline.connectors.pipedrive.answers import PipedriveDialect
from pipedrive_pipeline.connectors.pipedrive.envelope import listed
from pipedrive_pipeline_tests.connectors.doubles import FakeClock, FakeVault, run
from pipedrive_pipeline_tests.connectors.scripted import ReceivedRequest, Reply, as_json, scripted

WINDOW_SECONDS = 2.0


def begun(
    calls: int, limits: RateLimits, time: FakeClock, *, learns_first: bool = True
) -> list[float]:
    """Returns the times at which so many calls begin that are requested together."""

    async def act() -> list[float]:
        pacer = Pacer(WINDOW_SECONDS, time.clock)
        if learns_first:
            pacer.learn(limits)

        async def one() -> float:
            await pacer.turn()
            return time.seconds

        return sorted(await asyncio.gather(*(one() for _ in range(calls))))

    return run(act())


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 20, 80, 480])
def test_no_window_ever_holds_more_than_the_limit(limit: int) -> None:
    """For every limit and every position of the window."""
    starts = begun(3 * limit + 5, RateLimits(burst_limit=limit), FakeClock())

    for index, start in enumerate(starts):
        inside = [other for other in starts[index:] if other <= start + WINDOW_SECONDS]
        assert len(inside) <= limit


def test_most_of_the_window_is_used() -> None:
    """A pace too careful doubles the time of a first sync."""
    starts = begun(225, RateLimits(burst_limit=80), FakeClock())

    assert starts[-1] <= 2.2 * WINDOW_SECONDS


def test_without_a_known_limit_nothing_waits() -> None:
    """Not every system names one; a refusal is then waited out by the client."""
    time = FakeClock()

    begun(500, RateLimits(), time)

    assert time.waits == []


def test_a_window_that_another_process_fills_is_sat_out() -> None:
    """The same token may be in use elsewhere; the headers tell."""
    starts = begun(
        1, RateLimits(burst_limit=80, burst_left=0, burst_reset_seconds=1.5), FakeClock()
    )

    assert starts == [1.5]


def test_a_reset_beyond_the_window_is_not_believed() -> None:
    """A header in another unit must not stop a run for hours."""
    starts = begun(
        1, RateLimits(burst_limit=80, burst_left=0, burst_reset_seconds=1.7e9), FakeClock()
    )

    assert starts[0] < 3


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
