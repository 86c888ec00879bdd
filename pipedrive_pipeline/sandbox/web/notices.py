"""The notice that an app gets when a user uninstalls it.

Pipedrive does not send it to localhost; the sandbox does, because apps under test run there.
"""

from __future__ import annotations

import httpx

from pipedrive_pipeline.sandbox.options import Options
from pipedrive_pipeline.sandbox.web.grants import Grant

TIMEOUT_SECONDS = 10.0


def send_uninstall_notice(grant: Grant, options: Options, *, at: str) -> None:
    """Notify the app's callback that a user uninstalled it; the response is ignored."""
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
            timeout=TIMEOUT_SECONDS,
        )
    except httpx.HTTPError:
        return  # a missing response is ignored, too
