"""A tenant that connects by consent: the OAuth app in the settings, and the browser's requests."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httpx
from pydantic import SecretStr

from pipedrive_pipeline.connect.auth import signing
from pipedrive_pipeline.connect.consent.oauth_flow import begin, confirm, finish
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.connections import TenantConnection
from pipedrive_pipeline.vault.vault import Vault, open_vault
from pipedrive_pipeline_tests.scenarios.world import SYSTEM, World
from pipedrive_pipeline_tests.trust import TLS


def with_app(world: World, sandbox: Sandbox) -> World:
    """The same warehouse; its settings name the sandbox's OAuth app."""
    facts = {
        **world.settings.model_dump(),
        "operator_key": SecretStr("canary-operator-key-0123456789-abcdef"),
    }
    settings = Settings.model_validate(facts).with_system(
        SYSTEM,
        client_id=sandbox.client_id,
        client_secret=SecretStr(sandbox.client_secret),
        oauth_url=sandbox.url,
        allowed_hosts=("127.0.0.1",),
    )
    return World(world.warehouse, settings)


def vault_of(world: World) -> Vault:
    """The world's vault."""
    return open_vault(world.warehouse, world.settings)


def consent(world: World, tenant: Tenant) -> TenantConnection:
    """The tenant's connection, after link, consent and confirm; the sandbox consents at once."""
    registry.add(world.warehouse, world.settings, tenant)
    vault, browser = vault_of(world), signing.fresh()
    begun = begin(vault, Scope(tenant, SYSTEM), session=browser, who="a test")
    back = httpx.get(begun.url, follow_redirects=False, verify=TLS).headers["location"]
    query = parse_qs(urlsplit(back).query)
    waiting = finish(vault, SYSTEM, session=browser, state=query["state"][0], code=query["code"][0])
    return confirm(vault, waiting.id)


def expire(world: World) -> None:
    """Every stored access token has ended, as far as we know."""
    with world.warehouse.transaction() as connection:
        connection.execute("update integration.connections set token_expires_at = now()")
