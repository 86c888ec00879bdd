"""A sandbox Pipedrive in place of an account: its settings, and the first consent.

Belongs here: what `demo` and `up` share when no credentials are set. Does not belong here: the
sandbox itself.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httpx

from pipedrive_pipeline.cli.session import Session
from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.consent.oauth_flow import begin, confirm, finish
from pipedrive_pipeline.connectors.registry import DEFAULT_SYSTEM
from pipedrive_pipeline.errors import SourceBroke
from pipedrive_pipeline.sandbox import Options
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync import registry
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.connections import Connection
from pipedrive_pipeline.vault.vault import open_vault

DEFAULT_TENANT = Tenant("default")
SANDBOX_COMMAND = ("sandbox", "--control")


def sandbox_environment(url: str) -> dict[str, str]:
    """The settings with which everything talks to the sandbox at ``url`` instead of Pipedrive."""
    return {
        "PIPEDRIVE_CLIENT_ID": Options.client_id,
        "PIPEDRIVE_CLIENT_SECRET": Options.client_secret,
        "PIPEDRIVE_OAUTH_URL": url,
        "PIPEDRIVE_ALLOWED_HOSTS": "127.0.0.1",
    }


def connect_default(session: Session) -> Connection:
    """Tenant `default`, connected by the OAuth code flow as a browser would walk it.

    The sandbox consents at once; the code goes to the function that the web callback calls.
    """
    settings = load_settings()  # with the sandbox's environment
    registry.add(session.warehouse, settings, DEFAULT_TENANT, display_name="Sandbox company")
    vault = open_vault(session.warehouse, settings)
    browser = signing.fresh()
    begun = begin(vault, DEFAULT_TENANT, DEFAULT_SYSTEM, session=browser, who="operator")
    answer = httpx.get(begun.url, follow_redirects=False, timeout=10)
    query = parse_qs(urlsplit(answer.headers.get("location", "")).query)
    if "code" not in query:
        raise SourceBroke("the sandbox gave no authorization code; start it with --consent auto.")
    waiting = finish(
        vault, DEFAULT_SYSTEM, session=browser, state=query["state"][0], code=query["code"][0]
    )
    return confirm(vault, waiting.id)
