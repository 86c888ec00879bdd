"""Messages of the control routes that only a look-alike of Pipedrive understands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipedrive_pipeline.sandbox.kit.control_messages import (
    ExpireAccessTokens,
    GiveScopes,
    GrantMessage,
    QueueFault,
    TakeScopes,
)
from pipedrive_pipeline.sandbox.kit.running import RunningSandbox
from pipedrive_pipeline.sandbox.pipedrive.edits import EditCommand
from pipedrive_pipeline.sandbox.pipedrive.running import Sandbox
from pipedrive_pipeline.sandbox.pipedrive.world.users import Sight


class QueueFaultOrEdit(QueueFault, forbid_unknown_fields=True):
    """Queue a fault, which may be an edit, or with ``clear`` drop all queued faults."""

    edit: EditCommand | None = None  # what a fault of kind ``edit`` does

    def action(self, sandbox: RunningSandbox) -> Callable[[], None] | None:
        """The edit, as a function."""
        edit = self.edit
        if edit is None:
            return None

        def act() -> None:
            edit.run(sandbox)  # type: ignore[arg-type]  # only a look-alike of Pipedrive gets it

        return act


class Revoke(GrantMessage, tag="revoke"):
    """End installations and replace API tokens."""

    user_id: int | None = None

    def run(self, sandbox: Sandbox) -> Any:
        """Revoke; returns the admin's new API token."""
        sandbox.revoke(self.user_id)
        return sandbox.api_token


class Uninstall(GrantMessage, tag="uninstall"):
    """Uninstall the app, with the notice to its callback."""

    user_id: int | None = None

    def run(self, sandbox: Sandbox) -> Any:
        """Uninstall; returns how many installations ended."""
        return sandbox.uninstall(self.user_id)


class SetRights(GrantMessage, tag="rights"):
    """Change what a user may see."""

    user_id: int
    sees: Sight = "all"
    hidden: list[tuple[str, int]] | None = None

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it."""
        sandbox.account.set_rights(self.user_id, self.sees, self.hidden)


class EditUser(GrantMessage, tag="edit_user"):
    """Change what the list of users shows of one, such as the name or ``active_flag``."""

    user_id: int
    values: dict[str, Any]

    def run(self, sandbox: Sandbox) -> Any:
        """Apply it; returns the user."""
        return sandbox.account.edit_user(self.user_id, **self.values)


class NewApiToken(GrantMessage, tag="new_api_token"):
    """Create a new API token for a user; the former one becomes invalid."""

    user_id: int

    def run(self, sandbox: Sandbox) -> Any:
        """Create it; returns the token."""
        return sandbox.grants.new_api_token(self.user_id)


class Spend(GrantMessage, tag="spend"):
    """Spend tokens of the day's budget, as another app of the company would."""

    tokens: int

    def run(self, sandbox: Sandbox) -> Any:
        """Spend; returns the remaining tokens."""
        sandbox.budget.spend(self.tokens)
        return sandbox.budget.remaining


class BecomeCompany(GrantMessage, tag="company"):
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
    | EditUser
    | NewApiToken
    | Spend
    | BecomeCompany
)
