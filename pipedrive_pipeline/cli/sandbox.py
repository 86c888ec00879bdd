"""This installation's sandbox: a make-believe Pipedrive for the tenant `sandbox`, and for no other.

Gives its address, its tenant and its first consent, and serves it to a command while no `up` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from pipedrive_pipeline.cli.processes import is_free
from pipedrive_pipeline.cli.session import CommandSession
from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.consent.oauth_flow import begin, confirm, finish
from pipedrive_pipeline.errors import SettingsError, SourceBroke
from pipedrive_pipeline.sandbox import SYSTEM, CrmAccount, Options, kept_in, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import SANDBOX_TENANT, SandboxAddress, Settings
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import connections
from pipedrive_pipeline.vault.connections import TenantConnection
from pipedrive_pipeline.vault.states import ConnectionState
from pipedrive_pipeline.vault.vault import open_vault

SANDBOX = Tenant(SANDBOX_TENANT)
ORGANIZATIONS, PERSONS = 1_200, 3_500


def sandbox_command(settings: Settings) -> list[str]:
    """The words that start this installation's sandbox as a server."""
    return [
        "sandbox",
        "--control",
        *("--consent", "page"),  # a person who connects a tenant of their own sees what they would
        *("--organizations", str(ORGANIZATIONS), "--persons", str(PERSONS)),
        *("--port", str(settings.sandbox_port), "--state", str(_state_file(settings))),
    ]


@contextmanager
def served(settings: Settings) -> Iterator[CrmAccount]:
    """The sandbox's company, served by this process until the end of the block."""
    account = seeded(ORGANIZATIONS, PERSONS)
    with (
        serve(account, has_control=True, port=_port(settings)) as sandbox,
        kept_in(sandbox.service, _state_file(settings)),
    ):
        publish(settings, sandbox.url)
        yield account


def is_answering(settings: Settings) -> bool:
    """True if an `up` or a `sandbox` command serves this installation's sandbox now."""
    try:
        return httpx.get(
            SandboxAddress.read(settings.sandbox_file(SYSTEM)).url, timeout=2
        ).is_success
    except httpx.HTTPError:
        return False


def publish(settings: Settings, url: str) -> None:
    """Lets every command of this installation find the sandbox at this address."""
    SandboxAddress(
        url=url,
        client_id=Options.client_id,
        client_secret=Options.client_secret,
        api_token=Options.api_token,
    ).write(settings.sandbox_file(SYSTEM))


def connect_sandbox(session: CommandSession) -> TenantConnection:
    """The connection of the tenant `sandbox`, made by the OAuth code flow unless it is there.

    Agrees to the sandbox's consent page, and gives the code to the function that the web callback
    calls.
    """
    settings = session.settings
    registry.add(
        session.warehouse,
        settings,
        SANDBOX,
        display_name="Make-believe company (sandbox)",
        is_sandbox=True,
    )
    vault, scope = open_vault(session.warehouse, settings), Scope(SANDBOX, SYSTEM)
    url = vault.oauth_app(scope).oauth_url
    former = connections.connection(vault, scope)
    if former and former.state is ConnectionState.CONNECTED and former.api_domain == url:
        return former
    browser = signing.fresh()
    begun = begin(vault, scope, session=browser, who="operator")
    answer = httpx.post(begun.url, data={"decision": "allow"}, timeout=10)
    query = parse_qs(urlsplit(answer.headers.get("location", "")).query)
    if "code" not in query:
        raise SourceBroke("the sandbox gave no authorization code; delete its state and try again.")
    waiting = finish(vault, SYSTEM, session=browser, state=query["state"][0], code=query["code"][0])
    return confirm(vault, waiting.id)


def require_no_real_tenant(session: CommandSession, command: str) -> None:
    """Returns if no tenant but the sandbox's was ever connected here.

    Raises:
        SettingsError: make-believe rows must not come between real ones unasked.
    """
    if registry.has_real_connection(session.warehouse):
        raise SettingsError(
            f"this installation has a connected tenant, and `{command}` fills a make-believe one. "
            f"Run it in a folder of its own: PIPELINE_HOME=/tmp/{command} ./run {command}."
        )


def _state_file(settings: Settings) -> Path:
    """The file that keeps the sandbox's edits and grants from one start to the next."""
    return settings.sandbox_file(SYSTEM).with_name(f"{SYSTEM}-state.json")


def _port(settings: Settings) -> int:
    """The port that the sandbox had last, else `SANDBOX_PORT`, else any free one."""
    ports = [settings.sandbox_port]
    if settings.sandbox_file(SYSTEM).exists():
        ports.insert(0, urlsplit(SandboxAddress.read(settings.sandbox_file(SYSTEM)).url).port or 0)
    return next((port for port in ports if port and is_free(port)), 0)
