"""Messages of the control routes for faults, clock and grants."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from pipedrive_pipeline.sandbox.running import Sandbox
from pipedrive_pipeline.sandbox.web.edits import EditCommand, EntityName
from pipedrive_pipeline.sandbox.world.users import Sight


class QueueFault(msgspec.Struct, forbid_unknown_fields=True):
    """Queue a fault, or with ``clear`` drop all queued faults."""

    kind: str | None = None
    after: int = 0
    times: int = 1
    path: str = ""
    seconds: float = 0.0
    edit: EditCommand | None = None  # what a fault of kind ``edit`` does
    clear: bool = False

    def run(self, sandbox: Sandbox) -> Any:
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
                action=self._action(sandbox),
            )
        return [
            {"kind": fault.kind, "after": fault.after, "times": fault.times, "path": fault.path}
            for fault in sandbox.faults.waiting()
        ]

    def _action(self, sandbox: Sandbox) -> Callable[[], None] | None:
        edit = self.edit
        if edit is None:
            return None

        def act() -> None:
            edit.run(sandbox)

        return act


class SetClock(msgspec.Struct, forbid_unknown_fields=True):
    """Move, set, stop or release the server's clock; shift the edit times against it."""

    at: datetime | None = None
    advance_seconds: float = 0.0
    frozen: bool | None = None
    stamps_shift_seconds: float | None = None

    def run(self, sandbox: Sandbox) -> Any:
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


class _Grant(msgspec.Struct, tag_field="action", forbid_unknown_fields=True):
    pass


class Revoke(_Grant, tag="revoke"):
    """End installations and replace API tokens."""

    user_id: int | None = None

    def run(self, sandbox: Sandbox) -> Any:
        """Revoke; returns the admin's new API token."""
        sandbox.revoke(self.user_id)
        return sandbox.api_token


class Uninstall(_Grant, tag="uninstall"):
    """Uninstall the app, with the notice to its callback."""

    user_id: int | None = None

    def run(self, sandbox: Sandbox) -> Any:
        """Uninstall; returns how many installations ended."""
        return sandbox.uninstall(self.user_id)


class ExpireAccessTokens(_Grant, tag="expire_access_tokens"):
    """Expire all access tokens; refresh tokens stay valid."""

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it."""
        sandbox.grants.expire_access_tokens()


class TakeScopes(_Grant, tag="take_scopes"):
    """Remove scopes from the app and its tokens."""

    scopes: list[str]

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it."""
        sandbox.grants.take_scopes(*self.scopes)


class GiveScopes(_Grant, tag="give_scopes"):
    """Add scopes to the app, for the next installation."""

    scopes: list[str]

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it."""
        sandbox.grants.give_scopes(*self.scopes)


class SetRights(_Grant, tag="rights"):
    """Change what a user may see."""

    user_id: int
    sees: Sight = "all"
    hidden: list[tuple[EntityName, int]] | None = None

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it."""
        sandbox.account.set_rights(self.user_id, self.sees, self.hidden)


class NewApiToken(_Grant, tag="new_api_token"):
    """Create a new API token for a user; the former one becomes invalid."""

    user_id: int

    def run(self, sandbox: Sandbox) -> Any:
        """Create it; returns the token."""
        return sandbox.grants.new_api_token(self.user_id)


class Spend(_Grant, tag="spend"):
    """Spend tokens of the day's budget, as another app of the company would."""

    tokens: int

    def run(self, sandbox: Sandbox) -> Any:
        """Spend; returns the remaining tokens."""
        sandbox.budget.spend(self.tokens)
        return sandbox.budget.remaining


class BecomeCompany(_Grant, tag="company"):
    """Make later consents belong to another company; its records have the same ids."""

    company_id: int
    name: str

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it."""
        sandbox.account.company_id, sandbox.account.company_name = self.company_id, self.name


GrantCommand = (
    Revoke
    | Uninstall
    | ExpireAccessTokens
    | TakeScopes
    | GiveScopes
    | SetRights
    | NewApiToken
    | Spend
    | BecomeCompany
)
