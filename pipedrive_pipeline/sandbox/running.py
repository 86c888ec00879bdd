"""The handle of a running sandbox: address, credentials, account, requests and faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipedrive_pipeline.sandbox.options import Options
from pipedrive_pipeline.sandbox.web.faults import Faults
from pipedrive_pipeline.sandbox.web.grants import Grants
from pipedrive_pipeline.sandbox.web.journal import Journal
from pipedrive_pipeline.sandbox.web.limits import Budget
from pipedrive_pipeline.sandbox.web.notices import send_uninstall_notice
from pipedrive_pipeline.sandbox.web.service import Service
from pipedrive_pipeline.sandbox.world.account import Account
from pipedrive_pipeline.sandbox.world.clock import Clock
from pipedrive_pipeline.sandbox.world.reading import truth

Record = dict[str, Any]


class Sandbox:
    """A running sandbox."""

    def __init__(self, url: str, service: Service) -> None:
        self.url = url
        self.service = service

    @property
    def account(self) -> Account:
        """The company's data."""
        return self.service.account

    @property
    def options(self) -> Options:
        """The settings of this sandbox."""
        return self.service.options

    @property
    def api_token(self) -> str:
        """The admin's personal API token."""
        admin = self.account.admin_id
        return next(t for t, user in self.service.grants.api_tokens.items() if user == admin)

    @property
    def client_id(self) -> str:
        """Of the OAuth app."""
        return self.options.client_id

    @property
    def client_secret(self) -> str:
        """Of the OAuth app."""
        return self.options.client_secret

    @property
    def requests(self) -> Journal:
        """Every request, with its cost."""
        return self.service.journal

    @property
    def faults(self) -> Faults:
        """The faults that are queued for coming requests."""
        return self.service.faults

    @property
    def clock(self) -> Clock:
        """The server's clock."""
        return self.account.clock

    @property
    def budget(self) -> Budget:
        """The company's remaining tokens of today."""
        return self.service.budget

    @property
    def grants(self) -> Grants:
        """All tokens and who owns them."""
        return self.service.grants

    def truth(self, entity: str, **more: Any) -> Iterator[Record]:
        """The rows that a complete list holds; see ``world.reading.truth``."""
        return truth(self.account, entity, **more)

    def revoke(self, user_id: int | None = None) -> None:
        """End the app's installations (of one user, or all) and replace the API tokens."""
        with self.account.lock:
            self.grants.uninstall(user_id)
            for holder in list(self.grants.api_tokens.values()):
                if user_id in (None, holder):
                    self.grants.new_api_token(holder)

    def uninstall(self, user_id: int | None = None) -> int:
        """Uninstall the app as its user would, with the notice to its callback.

        Returns:
            How many installations ended.
        """
        with self.account.lock:
            grants = self.grants.uninstall(user_id)
        for grant in grants:
            send_uninstall_notice(grant, self.options, at=self.clock.stamp())
        return len(grants)
