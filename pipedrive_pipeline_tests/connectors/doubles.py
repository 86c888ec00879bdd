"""What the tests pass in for time, chance, the vault and the meter."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import SecretStr

from pipedrive_pipeline.connectors.contract import Access, ApiCall, Credential
from pipedrive_pipeline.connectors.hosts import AllowedHosts
from pipedrive_pipeline.connectors.transport import Clock, Limits

T = TypeVar("T")

NOW = datetime(2026, 2, 3, 8, 0, tzinfo=UTC)
TOKEN = "v1u:a-secret-that-must-never-show"
PATIENT = Limits()  # never reached on loopback, however busy the machine
IMPATIENT = Limits(connect_seconds=1.0, read_seconds=0.2, call_seconds=0.25)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's value; fails rather than hangs."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(bounded())


@dataclass
class FakeClock:
    """A clock on which waiting takes no time; it remembers each wait."""

    waits: list[float] = field(default_factory=list)
    seconds: float = 0.0

    async def sleep(self, seconds: float) -> None:
        """Wait without waiting."""
        self.waits.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)

    @property
    def clock(self) -> Clock:
        """Returns the clock for the code under test; jitter is always the middle value."""
        return Clock(
            now=lambda: NOW,
            monotonic_seconds=lambda: self.seconds,
            sleep=self.sleep,
            jitter=lambda: 0.5,
        )


@dataclass
class FakeVault:
    """Lends tokens t0, t1 … for one host, a newer one for each that is refused."""

    url: str
    kind: str = "oauth"
    lent: int = 0
    refused: list[Credential] = field(default_factory=list)
    calls: list[ApiCall] = field(default_factory=list)

    def __call__(self, refused: Credential | None = None) -> Credential:
        """See `base.Lender`."""
        if refused:
            self.refused.append(refused)
            self.lent += 1
        return Credential(
            kind=self.kind,  # type: ignore[arg-type]
            secret=SecretStr(f"{TOKEN}-{self.lent}"),
            base_url=self.url,
            generation=self.lent,
        )

    @property
    def access(self) -> Access:
        """Of tenant ``acme``, to loopback hosts."""
        return Access("acme", self, AllowedHosts(("127.0.0.1", "localhost")), self.calls.append)
