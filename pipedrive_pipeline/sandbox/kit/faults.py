"""Faults on purpose: which requests fail, and how.

A fault stays in a queue until its requests have come. Some faults replace the answer, some change
it after the work is done, some only change its transmission, and ``edit`` changes the world just
before the request is answered, for example between two pages of a walk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from threading import Lock
from typing import Any

import msgspec

from pipedrive_pipeline.sandbox.kit.answers import SandboxAnswer, encode

HUGE_BYTES = 500_000_000
AHEAD = timedelta(minutes=10)
FAR_AHEAD = timedelta(days=300)
Change = Callable[[SandboxAnswer, str], SandboxAnswer]  # the answer and the query of its request


def with_keys(**keys: Any) -> Change:
    """Overwrites some keys of the body."""

    def spoil(answer: SandboxAnswer, _: str) -> SandboxAnswer:
        return replace(answer, body=encode(msgspec.json.decode(answer.body) | keys))

    return spoil


def without_key(key: str) -> Change:
    """Removes a key from the body."""

    def spoil(answer: SandboxAnswer, _: str) -> SandboxAnswer:
        body = msgspec.json.decode(answer.body)
        body.pop(key, None)
        return replace(answer, body=encode(body))

    return spoil


def with_headers(answer: SandboxAnswer, **headers: str | None) -> SandboxAnswer:
    """An answer with other headers; None removes one."""
    merged = answer.headers | headers
    return replace(answer, headers={k: v for k, v in merged.items() if v is not None})


def _date(shift: timedelta) -> Change:
    """Moves the ``Date`` header."""

    def spoil(answer: SandboxAnswer, _: str) -> SandboxAnswer:
        sent_at = parsedate_to_datetime(answer.headers["date"]) + shift
        return with_headers(answer, date=format_datetime(sent_at, usegmt=True))

    return spoil


# These change any system's answer after the work is done.
TRANSMISSION: dict[str, Change] = {
    "date_ahead": _date(AHEAD),
    "date_far_ahead": _date(FAR_AHEAD),
    "date_behind": _date(-AHEAD),
    "no_date": lambda answer, _: with_headers(answer, date=None),
    "truncated_json": lambda answer, _: replace(answer, body=answer.body[: len(answer.body) // 2]),
    "reset_mid_body": lambda answer, _: replace(answer, delivery="cut"),
    "lost_answer": lambda answer, _: replace(answer, delivery="lost"),
    "byte_a_second": lambda answer, _: replace(answer, delivery="drip"),
    "huge_page": lambda answer, _: replace(answer, delivery="flood", flood_bytes=HUGE_BYTES),
    "slow": lambda answer, _: answer,
}
EDIT = "edit"  # the world changes just before the request is answered
# An event of a webhook is not sent, sent later, sent twice, or overtaken by the next one.
DELIVERIES = ("webhook_lost", "webhook_delayed", "webhook_duplicated", "webhook_reordered")


@dataclass(frozen=True)
class FaultKinds:
    """The faults that one look-alike knows."""

    instead: Mapping[str, Callable[[], SandboxAnswer]]  # these answers replace the work
    afterwards: Mapping[str, Change] = field(default_factory=lambda: TRANSMISSION)
    paths: Mapping[str, str] = field(default_factory=dict)  # the route of a kind, where it has one
    deliveries: tuple[str, ...] = ()  # these concern events of webhooks, not requests

    @property
    def names(self) -> tuple[str, ...]:
        """Every kind."""
        return (*self.instead, *self.afterwards, *self.deliveries, EDIT)


@dataclass(frozen=True)
class Fault:
    """One fault in the queue."""

    kind: str
    after: int = 0  # how many matching requests pass unchanged first
    times: int = 1  # how many matching requests then fail
    path: str = ""  # part of path and query of the matching requests, or of an event's name
    seconds: float = 0.0  # before the first byte; of a delayed event, until it is sent
    action: Callable[[], None] | None = None  # of ``edit``


class Faults:
    """The queue of one look-alike."""

    def __init__(self, kinds: FaultKinds) -> None:
        self.kinds = kinds
        self._lock = Lock()
        self._queue: list[Fault] = []

    def add(
        self,
        kind: str,
        *,
        after: int = 0,
        times: int = 1,
        path: str = "",
        seconds: float = 0.0,
        action: Callable[[], None] | None = None,
    ) -> None:
        """Queue a fault.

        Args:
            kind: one of the names of the look-alike's kinds.
            after: how many matching requests pass unchanged first.
            times: how many matching requests then fail, one after the other.
            path: part of path and query of matching requests; by default those of the kind's
                own route, or all but the sandbox's own.
            seconds: the wait before the first byte.
            action: what an ``edit`` does.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in self.kinds.names:
            raise ValueError(f"unknown fault {kind!r}; known: {', '.join(self.kinds.names)}")
        path = path or self.kinds.paths.get(kind, "")
        with self._lock:
            self._queue.append(Fault(kind, after, times, path, seconds, action))

    def before(self, number: int, action: Callable[[], None], *, path: str = "") -> None:
        """Run an action just before the ``number``-th fitting request from now is answered."""
        self.add(EDIT, after=number - 1, path=path, action=action)

    def clear(self) -> None:
        """Drop all queued faults."""
        with self._lock:
            self._queue.clear()

    def waiting(self) -> list[Fault]:
        """The faults that are still queued."""
        with self._lock:
            return list(self._queue)

    def due(self, url: str) -> list[Fault]:
        """The faults of the request that is coming in now."""
        return self._due(url, is_delivery=False)

    def due_delivery(self, event: str) -> list[Fault]:
        """The faults of the event that is to be delivered now."""
        return self._due(event, is_delivery=True)

    def _due(self, text: str, *, is_delivery: bool) -> list[Fault]:
        with self._lock:
            due, waiting = [], []
            for fault in self._queue:
                is_other = (fault.kind in self.kinds.deliveries) != is_delivery
                if is_other or fault.path not in text:
                    waiting.append(fault)
                elif fault.after > 0:
                    waiting.append(replace(fault, after=fault.after - 1))
                else:
                    due.append(fault)
                    if fault.times > 1:
                        waiting.append(replace(fault, times=fault.times - 1))
            self._queue = waiting
            return due
