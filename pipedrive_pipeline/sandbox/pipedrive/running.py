"""The handle of a running look-alike of Pipedrive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from pipedrive_pipeline.sandbox.kit.grants import Grant
from pipedrive_pipeline.sandbox.kit.running import RunningSandbox
from pipedrive_pipeline.sandbox.pipedrive.limits import TokenBudget
from pipedrive_pipeline.sandbox.pipedrive.options import Options
from pipedrive_pipeline.sandbox.pipedrive.service import PipedriveService
from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.reading import truth

Record = dict[str, Any]
NOTICE_TIMEOUT_SECONDS = 10.0


class Sandbox(RunningSandbox):
    """A running look-alike of Pipedrive."""

    service: PipedriveService

    @property
    def account(self) -> CrmAccount:
        """The company's data."""
        return self.service.account

    @property
    def options(self) -> Options:
        """The settings of this sandbox."""
        return self.service.settings

    @property
    def api_token(self) -> str:
        """The admin's personal API token."""
        admin = self.account.admin_id
        return next(t for t, user in self.grants.api_tokens.items() if user == admin)

    @property
    def budget(self) -> TokenBudget:
        """The company's remaining tokens of today."""
        return self.service.budget

    def truth(self, entity: str, **more: Any) -> Iterator[Record]:
        """The rows that a complete list holds; see ``world.reading.truth``."""
        return truth(self.account, entity, **more)

    def uninstall(self, user_id: int | None = None) -> int:
        """Uninstall the app as its user would, with the notice to its callback.

        Returns:
            How many installations ended.
        """
        with self.account.lock:
            grants = self.grants.uninstall(user_id)
        for grant in grants:
            _send_uninstall_notice(grant, self.options, at=self.clock.stamp())
        return len(grants)


def _send_uninstall_notice(grant: Grant, options: Options, *, at: str) -> None:
    """Notify the app's callback that a user uninstalled it; the response is ignored.

    Pipedrive does not send it to localhost; the sandbox does, because apps under test run there.
    """
    notice = {
        "client_id": options.client_id,
        "company_id": grant.company_id,
        "user_id": grant.user_id,
        "timestamp": at,
    }
    try:
        httpx.request(
            "DELETE",
            grant.redirect_uri,
            json=notice,
            auth=(options.client_id, options.client_secret),
            timeout=NOTICE_TIMEOUT_SECONDS,
        )
    except httpx.HTTPError:
        return  # a missing response is ignored, too
