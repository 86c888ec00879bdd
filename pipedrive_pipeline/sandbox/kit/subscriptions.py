"""Webhooks as data: who gets which events, the rules of one vendor, the log of the attempts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Outcome = Literal["delivered", "failed", "lost"]  # lost: it was never sent


@dataclass(frozen=True)
class DeliveryRules:
    """How one vendor repeats, and when it gives up."""

    retry_seconds: tuple[float, ...]  # from one attempt that failed to the next
    ban_after: int  # events whose first attempt failed
    ban: timedelta  # events in that time are lost
    removed_after: timedelta  # of failures without a success


@dataclass
class Subscription:
    """One webhook."""

    id: int
    url: str
    owner_id: Any  # the user who made it
    is_app: bool  # whether the app made it, not a personal token
    user_id: Any  # whose rights decide what it tells
    user: str | None  # for Basic authentication
    password: str | None
    added_at: datetime
    facts: dict[str, Any] = field(default_factory=dict)  # what else the vendor's API shows
    failed_count: int = 0  # events whose first attempt failed, since the last ban
    banned_until: datetime | None = None
    failing_since: datetime | None = None
    last_attempt_at: datetime | None = None
    last_status: int | None = None  # None: no answer, or no attempt
    removed_at: datetime | None = None
    remove_reason: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether it was not removed; during a ban it counts as active."""
        return self.removed_at is None


@dataclass(frozen=True)
class ChangeEvent:
    """Something that happened, as webhooks tell it."""

    name: str  # kind of record and action; faults may name a part of it
    key: str  # the id of its record
    body: Callable[[Subscription, int], bytes]  # of an attempt; called when it is sent


@dataclass(frozen=True)
class LoggedDelivery:
    """One attempt, or an event that was never sent."""

    number: int  # from 1
    at: str  # the server's clock
    webhook_id: int
    event: str
    key: str
    attempt: int
    outcome: Outcome
    status: int | None = None
    seconds: float = 0.0
