"""Writes through the engine in a world: what the API's routes do, without HTTP."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.connectors.pipedrive import system, writer
from pipedrive_pipeline.connectors.transport import Clock
from pipedrive_pipeline.connectors.writing import Verb
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.writes.engine import Writes
from pipedrive_pipeline.sync.writes.requests import WriteRequest, intended
from pipedrive_pipeline.sync.writes.steps import Timing, WriteOutcome
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

SCOPE = Scope(ACME, SYSTEM)
AT_ONCE = Timing(turn_seconds=20, tables_seconds=20, settle=timedelta(0))


@dataclass
class HastyClock:
    """Time that goes on at once by what somebody waits for.

    A wait that takes no time on the clock either is a busy loop until the source's window ends.
    """

    skipped_seconds: float = 0.0

    def monotonic_seconds(self) -> float:
        """The time, and all that was waited for."""
        return time.monotonic() + self.skipped_seconds

    async def sleep(self, seconds: float) -> None:
        """Lets others have their turn."""
        self.skipped_seconds += seconds
        await asyncio.sleep(0)


def register_without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the system with a clock that does not wait before another attempt."""
    hurry = HastyClock()
    clock = Clock(monotonic_seconds=hurry.monotonic_seconds, sleep=hurry.sleep)
    hasty = replace(
        registry.system(SYSTEM),
        open=system.opener(clock=clock),
        open_writer=writer.opener(clock=clock),
    )
    monkeypatch.setitem(registry._registered, SYSTEM, hasty)


def allow_writes(world: World, *marts: str) -> None:
    """The tenant allows writing these marts; all if none is named."""
    with world.warehouse.transaction(tenant=ACME) as connection:
        connection.execute(
            "update integration.sync_settings set writes_allowed = %s"
            " where tenant_id = %s and system = %s",
            [list(marts) or ["all"], ACME.slug, SYSTEM],
        )


@dataclass(frozen=True)
class Caller:
    """Somebody who writes."""

    world: World
    timing: Timing = field(default=AT_ONCE)

    def write(self, mart: str, verb: Verb, **more: Any) -> WriteOutcome:
        """What becomes of a write; raises what the API answers with."""
        request = WriteRequest(mart, verb, who="a test", **more)
        entry = intended(self.world.warehouse, SCOPE, request)
        (done,) = self.engine().do([entry])
        if isinstance(done, PipelineError):
            raise done
        return done

    def engine(self) -> Writes:
        """The engine of the world's tenant."""
        return Writes(self.world.warehouse, self.world.settings, SCOPE, self.timing)
