"""Messages of the control routes for faults, clock and grants that every look-alike understands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from pipedrive_pipeline.sandbox.kit.running import RunningSandbox


class QueueFault(msgspec.Struct, forbid_unknown_fields=True):
    """Queue a fault, or with ``clear`` drop all queued faults."""

    kind: str | None = None
    after: int = 0
    times: int = 1
    path: str = ""
    seconds: float = 0.0
    clear: bool = False

    def run(self, sandbox: RunningSandbox) -> Any:
        """Queue it; returns the queued faults."""
        if self.clear:
            sandbox.faults.clear()
        if self.kind is not None:
            sandbox.faults.add(
                self.kind,
                after=self.after,
                times=self.times,
                path=self.path,
                seconds=self.seconds,
                action=self.action(sandbox),
            )
        return [
            {"kind": fault.kind, "after": fault.after, "times": fault.times, "path": fault.path}
            for fault in sandbox.faults.waiting()
        ]

    def action(self, sandbox: RunningSandbox) -> Callable[[], None] | None:
        """What a fault of kind ``edit`` does; a system whose edits have messages has some."""
        del sandbox
        return None


class SetClock(msgspec.Struct, forbid_unknown_fields=True):
    """Move, set, stop or release the server's clock; shift the edit times against it."""

    at: datetime | None = None
    advance_seconds: float = 0.0
    frozen: bool | None = None
    stamps_shift_seconds: float | None = None

    def run(self, sandbox: RunningSandbox) -> Any:
        """Apply it; returns the server's time."""
        clock = sandbox.clock
        if self.frozen is not None:
            (clock.freeze if self.frozen else clock.thaw)()
        if self.at is not None:
            clock.set(self.at)
        clock.advance(self.advance_seconds)
        if self.stamps_shift_seconds is not None:
            clock.stamps_shift = timedelta(seconds=self.stamps_shift_seconds)
        return clock.stamp()


class WebhookMessage(msgspec.Struct, tag_field="action", forbid_unknown_fields=True):
    """A message of ``POST /_sandbox/webhooks``."""


class PauseDelivery(WebhookMessage, tag="pause"):
    """Send no event until delivery goes on; events wait."""

    def run(self, sandbox: RunningSandbox) -> Any:
        """Apply it."""
        sandbox.webhooks.pause()


class ResumeDelivery(WebhookMessage, tag="resume"):
    """Send what has waited."""

    def run(self, sandbox: RunningSandbox) -> Any:
        """Apply it."""
        sandbox.webhooks.resume()


class RemoveWebhook(WebhookMessage, tag="remove"):
    """Remove a webhook, as the vendor may, without a notice."""

    id: int

    def run(self, sandbox: RunningSandbox) -> Any:
        """Apply it."""
        sandbox.webhooks.remove(self.id, "removed by hand")


WebhookCommand = PauseDelivery | ResumeDelivery | RemoveWebhook


class GrantMessage(msgspec.Struct, tag_field="action", forbid_unknown_fields=True):
    """A message of ``POST /_sandbox/grants``."""


class ExpireAccessTokens(GrantMessage, tag="expire_access_tokens"):
    """Expire all access tokens; refresh tokens stay valid."""

    def run(self, sandbox: RunningSandbox) -> Any:
        """Apply it."""
        sandbox.grants.expire_access_tokens()


class TakeScopes(GrantMessage, tag="take_scopes"):
    """Remove scopes from the app and its tokens."""

    scopes: list[str]

    def run(self, sandbox: RunningSandbox) -> Any:
        """Apply it."""
        sandbox.grants.take_scopes(*self.scopes)


class GiveScopes(GrantMessage, tag="give_scopes"):
    """Add scopes to the app, for the next installation."""

    scopes: list[str]

    def run(self, sandbox: RunningSandbox) -> Any:
        """Apply it."""
        sandbox.grants.give_scopes(*self.scopes)
