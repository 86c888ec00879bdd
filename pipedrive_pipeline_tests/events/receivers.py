"""Receivers of events: honest ones that check signatures, and ones that fail, hang or lie."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from pipedrive_pipeline_tests.sandbox.receiving import Delivery, Receiver

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
REDIRECT = b"HTTP/1.1 307 Elsewhere\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
FAILED = b"HTTP/1.1 500 Failed\r\ncontent-length: 0\r\n\r\n"
NO_HTTP = b"\x00\x01 this is no HTTP \xff\r\n\r\n"
# The event is taken, and the answer cannot be read to its end, or says another thing.
TAKEN_OTHERWISE = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\nit never ends",
    b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nshort",
    b"HTTP/1.1 204 OK\r\nset-cookie: a=b\r\n\r\n",
)
NEVER = b""
Behaviour = Callable[[random.Random], tuple[bytes, bool]]
"""The answer to an event, and whether the receiver keeps the event."""


def honest(_: random.Random) -> tuple[bytes, bool]:
    return OK, True


def failing(dice: random.Random) -> tuple[bytes, bool]:
    return (OK, True) if dice.random() < 0.6 else (FAILED, False)


def redirecting(dice: random.Random) -> tuple[bytes, bool]:
    return (OK, True) if dice.random() < 0.7 else (REDIRECT, False)


def hanging(dice: random.Random) -> tuple[bytes, bool]:
    return (OK, True) if dice.random() < 0.97 else (NEVER, dice.random() < 0.5)


def lying(dice: random.Random) -> tuple[bytes, bool]:
    """It keeps what it says it refused, and answers what is no HTTP."""
    odds = dice.random()
    if odds < 0.7:
        return (OK, True)
    if odds < 0.8:
        return (dice.choice(TAKEN_OTHERWISE), True)
    return (dice.choice((FAILED, NO_HTTP)), True)


@dataclass
class EventReceiver(Receiver):
    """A receiver of signed events.

    Attributes:
        behaviour: decides the answer of each.
        secrets: that signatures are checked with; each delivery must be signed with all of them.
        taken_events: the bodies that it took, in order, each with its webhook-id.
        refused: deliveries whose signature was wrong.
        paths: that were asked.
    """

    behaviour: Behaviour = honest
    secrets: list[str] = field(default_factory=list)
    taken_events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refused: list[Delivery] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    dice: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, delivery: Delivery) -> bytes:
        """The answer to one event; empty if there is none."""
        with self.lock:
            self.paths.add(delivery.path)
            try:
                for secret in self.secrets:
                    Webhook(secret).verify(delivery.body, delivery.headers)
            except (WebhookVerificationError, KeyError, ValueError):
                self.refused.append(delivery)
                return FAILED
            said, is_kept = self.behaviour(self.dice)
            if is_kept:
                self.taken_events.append((delivery.headers["webhook-id"], delivery.event))
            return said

    @property
    def first_arrivals(self) -> list[tuple[str, dict[str, Any]]]:
        """The events that it took, each when it took it first."""
        return list(
            {message: (message, event) for message, event in reversed(self.taken_events)}.values()
        )[::-1]
