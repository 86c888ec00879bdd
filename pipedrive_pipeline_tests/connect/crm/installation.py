"""The Connect app before a tenant that is synced with a sandbox, and how its answers are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.connect import browser
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.tenants import client_with
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, TOKEN_KEY, World
from pipedrive_pipeline_tests.vault import oauth_server
from pipedrive_pipeline_tests.vault.world import KeptSession, VaultSetup, settings_for


@dataclass(frozen=True)
class Installed:
    """The app, its warehouse and the source."""

    site: ConnectSite
    world: World
    sandbox: Sandbox

    def client(self, role: Role, name: str = "our app", **more: Any) -> httpx.Client:
        """A client with a new key of this role; ``more`` goes to `keys.add`."""
        with self.world.warehouse.as_app(ACME) as connection:
            key = keys.add(connection, ACME, role, name, who="a test", **more)
        return client_with(self.site, key.text)


@contextmanager
def installation(database_template: str, home: Path) -> Iterator[Installed]:
    """Tenant acme, read whole from a sandbox of its own, behind the Connect app."""
    with (
        databases.copy_of(database_template) as url,
        oauth_server.running() as oauth,
        serve(seeded(20, 40)) as sandbox,
        closing(KeptSession(url)) as session,
    ):
        keys_of_copies = {"token_encryption_keys": (TOKEN_KEY,)}
        settings = settings_for(url, oauth, pipeline_home=home, **keys_of_copies)
        warehouse = databases.warehouse_at(url)
        setup = VaultSetup(Vault(warehouse, settings), oauth, session)
        world = World(warehouse, settings)
        world.connect(ACME, sandbox)
        databases.read_everything(world.warehouse, ACME)
        world.first_sync()
        with browser.served(setup) as site:
            yield Installed(site, world, sandbox)


def map_customer_number(installed: Installed) -> str:
    """Lets a custom field of organizations fill `customer_number`; returns the field's name."""
    book = installed.sandbox.account.fields["organizations"]
    field = next(each for each in book if each.is_custom and each.type == "varchar")
    wanted = {"organizations": {field.code: "customer_number"}}
    mappings.save(installed.world.warehouse, Scope(ACME, SYSTEM), wanted, who="a test")
    return field.name


def unmap(installed: Installed) -> None:
    """Lets no field fill a column."""
    mappings.save(installed.world.warehouse, Scope(ACME, SYSTEM), {}, who="a test")


def data(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    """What a good answer holds."""
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


def error(answer: httpx.Response, status: int) -> dict[str, Any]:
    """What a refusal says."""
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()["error"]
    return found
