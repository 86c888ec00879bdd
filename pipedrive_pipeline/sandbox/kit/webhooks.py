"""Delivery of webhooks: recipients, attempts and retries, bans, faults, a log of the attempts.

A few threads of its own send the events, so that no answer of the API waits for a receiver. All
times are those of the server's clock, but for the timeout of one attempt.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pipedrive_pipeline.sandbox.kit.clock import ServerClock, stamp
from pipedrive_pipeline.sandbox.kit.faults import Fault, Faults
from pipedrive_pipeline.sandbox.kit.posting import Lines
from pipedrive_pipeline.sandbox.kit.subscriptions import (
    ChangeEvent,
    DeliveryRules,
    LoggedDelivery,
    Outcome,
    Subscription,
)

CAPACITY = 100_000  # attempts in the log
OVERTAKEN_AFTER = timedelta(seconds=5)  # at the latest, where no other event overtakes it
DELAY_SECONDS = 60.0  # of a fault that names none
END_SECONDS = 10.0


@dataclass(order=True, frozen=True)
class _Delivery:
    due_at: datetime
    number: int
    event: ChangeEvent = field(compare=False)
    subscription: Subscription = field(compare=False)
    attempt: int = field(compare=False, default=1)


class WebhookSender:
    """All webhooks of one look-alike and what waits to be sent. May be called from any thread."""

    def __init__(
        self,
        clock: ServerClock,
        faults: Faults,
        rules: DeliveryRules,
        *,
        threads: int,
        timeout_seconds: float,
    ) -> None:
        self._clock, self._faults, self._rules = clock, faults, rules
        self._thread_count, self._timeout_seconds = threads, timeout_seconds
        self._lock = threading.RLock()
        self._due = threading.Condition(self._lock)  # something may be due
        self._done = threading.Condition(self._lock)  # something was sent or lost
        self._subscriptions: dict[int, Subscription] = {}
        self._waiting: list[_Delivery] = []  # a heap
        self._overtaken: dict[int, list[_Delivery]] = {}  # by webhook: they wait for the next event
        self._numbers, self._in_flight, self._is_closed = 0, 0, False
        self._log: deque[LoggedDelivery] = deque(maxlen=CAPACITY)
        self._threads: list[threading.Thread] = []
        self._lines: list[Lines] = []
        self.change_count = 0  # of the webhooks themselves
        self.delivered_count = 0
        self.is_paused = False
        clock.watchers.append(self._wake)

    def all(self) -> list[Subscription]:
        """Every webhook, removed ones included, in the order in which they were made."""
        with self._lock:
            return list(self._subscriptions.values())

    def active(self) -> list[Subscription]:
        """The webhooks that were not removed."""
        return [each for each in self.all() if each.is_active]

    def add(self, subscription: Subscription) -> Subscription:
        """Add a webhook; it gets the next id."""
        with self._lock:
            number = max(self._subscriptions, default=0) + 1
            return self._put(replace(subscription, id=number))

    def restore(self, subscriptions: Iterable[Subscription]) -> None:
        """Brings back the webhooks of an earlier sandbox; what waited to be sent is lost."""
        with self._lock:
            for subscription in subscriptions:
                self._put(subscription)

    def remove(self, webhook_id: int, reason: str) -> None:
        """Remove a webhook; what waits for it is never sent.

        Raises:
            LookupError: there is none of this id.
        """
        with self._lock:
            subscription = self._subscriptions.get(webhook_id)
            if subscription is None or not subscription.is_active:
                raise LookupError(f"there is no webhook {webhook_id}")
            self._remove(subscription, reason)

    def remove_of(self, owner_id: Any, reason: str) -> None:
        """Remove the webhooks that the app has made for a user."""
        with self._lock:
            for subscription in self.active():
                if subscription.is_app and subscription.owner_id == owner_id:
                    self._remove(subscription, reason)

    def publish(self, event: ChangeEvent, subscriptions: Iterable[Subscription]) -> None:
        """Queue an event for some webhooks; a fault that is due loses, delays or doubles it."""
        with self._lock:
            for subscription in subscriptions:
                kinds = {fault.kind: fault for fault in self._faults.due_delivery(event.name)}
                self._queue(event, subscription, kinds)
                self._due.notify(1 + ("webhook_duplicated" in kinds))

    def pause(self) -> None:
        """Send nothing until `resume`; events go on to queue."""
        with self._lock:
            self.is_paused = True

    def resume(self) -> None:
        """Send what has waited."""
        with self._lock:
            self.is_paused = False
            self._due.notify_all()

    def settled(self, seconds: float = 10.0) -> bool:
        """Waits until nothing is due any more; False if that takes longer than so many seconds."""
        with self._lock:
            return self._done.wait_for(lambda: not (self._in_flight or self._has_due()), seconds)

    @property
    def waiting_count(self) -> int:
        """How many deliveries wait, retries included."""
        with self._lock:
            return len(self._waiting) + sum(map(len, self._overtaken.values())) + self._in_flight

    def deliveries(self, since: int = 0) -> list[LoggedDelivery]:
        """The stored log behind a number, oldest first."""
        with self._lock:
            return [each for each in self._log if each.number > since]

    def close(self) -> None:
        """End the threads, connections in use included."""
        with self._lock:
            self._is_closed = True
            self._due.notify_all()
        for lines in self._lines:
            lines.abort()
        for thread in self._threads:
            thread.join(END_SECONDS)
        if self._wake in self._clock.watchers:
            self._clock.watchers.remove(self._wake)

    def _put(self, subscription: Subscription) -> Subscription:
        self._subscriptions[subscription.id] = subscription
        self.change_count += 1
        while len(self._threads) < self._thread_count:
            lines = Lines(self._timeout_seconds)
            thread = threading.Thread(
                target=self._work, args=(lines,), name="webhooks", daemon=True
            )
            self._lines.append(lines)
            self._threads.append(thread)
            thread.start()
        return subscription

    def _remove(self, subscription: Subscription, reason: str) -> None:
        subscription.removed_at, subscription.remove_reason = self._clock.now(), reason
        self.change_count += 1

    def _queue(
        self, event: ChangeEvent, subscription: Subscription, faults: dict[str, Fault]
    ) -> None:
        delivery = self._next_delivery(event, subscription, self._clock.now())
        if "webhook_lost" in faults or self._is_banned(subscription):
            self._note(delivery, "lost")
            return
        if "webhook_reordered" in faults:
            due_at = delivery.due_at + OVERTAKEN_AFTER
            self._overtaken.setdefault(subscription.id, []).append(replace(delivery, due_at=due_at))
            return
        if "webhook_delayed" in faults:
            seconds = faults["webhook_delayed"].seconds or DELAY_SECONDS
            delivery = replace(delivery, due_at=delivery.due_at + timedelta(seconds=seconds))
        heapq.heappush(self._waiting, delivery)
        if "webhook_duplicated" in faults:
            self._push_again(delivery)
        for overtaken in reversed(self._overtaken.pop(subscription.id, [])):
            self._push_again(replace(overtaken, due_at=delivery.due_at))

    def _next_delivery(self, event: ChangeEvent, to: Subscription, due_at: datetime) -> _Delivery:
        self._numbers += 1
        return _Delivery(due_at, self._numbers, event, to)

    def _push_again(self, delivery: _Delivery) -> None:
        self._numbers += 1
        heapq.heappush(self._waiting, replace(delivery, number=self._numbers))

    def _is_banned(self, subscription: Subscription) -> bool:
        until = subscription.banned_until
        return until is not None and self._clock.now() < until

    def _release_overtaken(self) -> None:
        now = self._clock.now()
        for webhook_id, deliveries in list(self._overtaken.items()):
            if deliveries[0].due_at <= now:
                for delivery in self._overtaken.pop(webhook_id):
                    heapq.heappush(self._waiting, delivery)

    def _work(self, lines: Lines) -> None:
        """What one thread does: the attempts that are due, one after another."""
        while (delivery := self._taken()) is not None:
            started = time.perf_counter()
            status: int | None = None
            try:
                to = delivery.subscription
                body = delivery.event.body(to, delivery.attempt)
                status = lines.post(to.url, body, to.user, to.password)
            finally:
                self._finish(delivery, status, time.perf_counter() - started)
        lines.close()

    def _taken(self) -> _Delivery | None:
        """The next delivery, once it is due; None at the end."""
        with self._lock:
            while not self._is_closed:
                if self._has_due():
                    delivery = heapq.heappop(self._waiting)
                    to = delivery.subscription
                    if not self._is_banned(to) and to.is_active:
                        self._in_flight += 1
                        self._due.notify()  # another thread, for what waits behind it
                        return delivery
                    self._note(delivery, "lost")
                    self._done.notify_all()
                    continue
                self._due.wait(self._seconds_to_next())
            return None

    def _has_due(self) -> bool:
        self._release_overtaken()
        is_due = bool(self._waiting) and self._waiting[0].due_at <= self._clock.now()
        return is_due and not self.is_paused

    def _seconds_to_next(self) -> float | None:
        """How long nothing can be due; None: until something changes."""
        due = [self._waiting[0].due_at] if self._waiting else []
        due += [deliveries[0].due_at for deliveries in self._overtaken.values()]
        if self.is_paused or not due or self._clock.is_frozen:
            return None
        return max(0.0, (min(due) - self._clock.now()).total_seconds())

    def _finish(self, delivery: _Delivery, status: int | None, seconds: float) -> None:
        with self._lock:
            self._in_flight -= 1
            is_delivered = status is not None and 200 <= status < 300
            self._note(delivery, "delivered" if is_delivered else "failed", status, seconds)
            to, now = delivery.subscription, self._clock.now()
            to.last_attempt_at, to.last_status = now, status
            if is_delivered:
                to.failing_since = None
                self.delivered_count += 1
            elif to.is_active:
                self._fail(delivery, now)
            self._done.notify_all()

    def _fail(self, delivery: _Delivery, now: datetime) -> None:
        to, rules = delivery.subscription, self._rules
        to.failing_since = to.failing_since or now
        if now - to.failing_since >= rules.removed_after:
            self._remove(to, f"no success in {rules.removed_after.days} days")
            return
        if delivery.attempt == 1:
            to.failed_count += 1
        if to.failed_count >= rules.ban_after:
            to.failed_count, to.banned_until = 0, now + rules.ban
        if delivery.attempt <= len(rules.retry_seconds):
            wait = timedelta(seconds=rules.retry_seconds[delivery.attempt - 1])
            again = replace(delivery, due_at=now + wait, attempt=delivery.attempt + 1)
            heapq.heappush(self._waiting, again)
            self._due.notify()

    def _note(
        self,
        delivery: _Delivery,
        outcome: Outcome,
        status: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        number = self._log[-1].number + 1 if self._log else 1
        event, at = delivery.event, stamp(self._clock.now())
        to, attempt = delivery.subscription.id, delivery.attempt
        self._log.append(
            LoggedDelivery(number, at, to, event.name, event.key, attempt, outcome, status, seconds)
        )

    def _wake(self) -> None:
        """The clock was moved: what waited may be due."""
        with self._lock:
            self._due.notify_all()
            self._done.notify_all()
