"""One installation with two systems, Pipedrive and Orbit, each behind its own look-alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography.fernet import Fernet
from psycopg.rows import dict_row

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.connect.browser import HIDDEN, running_app
from pipedrive_pipeline_tests.orbit.connector import ORBIT
from pipedrive_pipeline_tests.orbit.lookalike import OrbitSandbox
from pipedrive_pipeline_tests.scenarios.world import ACME, World
from pipedrive_pipeline_tests.trust import TLS

PIPEDRIVE = "pipedrive"
ORBIT_KEY = ORBIT.key
SYSTEMS = (PIPEDRIVE, ORBIT_KEY)
OPERATOR_KEY = "canary-operator-key-0123456789-abcdef"
ORBIT_HOST = "localhost"  # another name than Pipedrive's, so that each has a host of its own
Row = dict[str, Any]


def orbit_url(orbit: OrbitSandbox) -> str:
    """The address of Orbit's look-alike under the name that only Orbit's tokens may go to."""
    return f"http://{ORBIT_HOST}:{urlsplit(orbit.url).port}"


def environment(
    database_url: str, home: Path, pipedrive: Sandbox, orbit: OrbitSandbox
) -> dict[str, str]:
    """The variables of an installation that has an app at both systems."""
    return {
        "DATABASE_URL": database_url,
        "PIPELINE_HOME": str(home),
        "TOKEN_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "OPERATOR_KEY": OPERATOR_KEY,
        "SYSTEM_MODULES": "pipedrive_pipeline_tests.orbit.connector",
        "PIPEDRIVE_CLIENT_ID": pipedrive.client_id,
        "PIPEDRIVE_CLIENT_SECRET": pipedrive.client_secret,
        "PIPEDRIVE_OAUTH_URL": pipedrive.url,
        "PIPEDRIVE_ALLOWED_HOSTS": "127.0.0.1",
        "ORBIT_CLIENT_ID": orbit.client_id,
        "ORBIT_CLIENT_SECRET": orbit.client_secret,
        "ORBIT_OAUTH_URL": orbit_url(orbit),
        "ORBIT_ALLOWED_HOSTS": ORBIT_HOST,
    }


@dataclass(frozen=True)
class TwoSystems:
    """A warehouse, the Connect app before it, and both look-alikes."""

    world: World
    pipedrive: Sandbox
    orbit: OrbitSandbox
    app_url: str

    def operator(self, tenant: Tenant = ACME) -> httpx.Client:
        """A script with the operator's key."""
        headers = {"authorization": f"Bearer {OPERATOR_KEY}", "x-tenant": tenant.slug}
        return httpx.Client(base_url=self.app_url, headers=headers, timeout=30, verify=TLS)

    def consent(
        self, system: str, tenant: Tenant = ACME, *, is_other_company: bool = False
    ) -> httpx.Response:
        """Connects a tenant by link, consent and confirmation; the app's answer to the last."""
        routes = f"/api/integrations/{system}"
        with self.operator(tenant) as operator, self.browser() as browser:
            link = operator.post(f"{routes}/connect-link").json()["data"]["url"]
            away = browser.get(link).headers["location"]
            back = httpx.get(away, verify=TLS).headers["location"]
            landed = browser.get(back).headers["location"]
            form = dict(HIDDEN.findall(browser.get(landed).text))
            more = {"other_company": "yes"} if is_other_company else {}
            return browser.post(f"{routes}/confirm", data={**form, **more})

    def browser(self) -> httpx.Client:
        """A browser without cookies; it follows no redirect by itself."""
        return httpx.Client(base_url=self.app_url, headers={"accept": "text/html,*/*"}, timeout=30)

    def sync(self, sync_type: Any = "incremental", tenant: Tenant = ACME) -> None:
        """A run of each system, one after the other."""
        for system in SYSTEMS:
            self.world.sync(tenant, sync_type, system=system)

    def look_alike(self, system: str) -> Sandbox | OrbitSandbox:
        """The server of a system."""
        return self.pipedrive if system == PIPEDRIVE else self.orbit

    def query(self, query: str, *values: object) -> list[Row]:
        """The rows of a query, as the engine sees them."""
        with self.world.warehouse.connect() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return cursor.execute(query.encode(), values).fetchall()

    def states(self, tenant: Tenant = ACME) -> dict[str, str]:
        """The state of each connection, by system."""
        rows = self.query(
            "select system, state from integration.connections where tenant_id = %s", tenant.slug
        )
        return {row["system"]: row["state"] for row in rows}

    def run_entities(self, system: str, tenant: Tenant = ACME) -> dict[str, Row]:
        """What the newest run of a system says about each entity."""
        rows = self.query(
            """
            select run_entities.*
            from integration.run_entities
            join (
                select id from integration.runs
                where tenant_id = %s and system = %s
                order by started_at desc limit 1
            ) as run on run.id = run_entities.run_id
            """,
            tenant.slug,
            system,
        )
        return {row["entity"]: row for row in rows}

    def view_columns(self, view: str, tenant: Tenant = ACME) -> set[str]:
        """The columns of an analysts' view."""
        rows = self.query(
            "select column_name from information_schema.columns"
            " where table_schema = %s and table_name = %s",
            tenant.analytics_schema,
            view,
        )
        return {row["column_name"] for row in rows}

    def rows(self, mart: str, system: str, tenant: Tenant = ACME) -> dict[str, Row]:
        """A mart's rows of one system by remote id."""
        query = f"select * from crm.{mart} where tenant_id = %s and system = %s"
        rows = self.query(query, tenant.slug, system)
        return {row["remote_id"]: row for row in rows if row["remote_id"] is not None}

    def former(self, mart: str, system: str, tenant: Tenant = ACME) -> dict[str, Row]:
        """Its rows of an account that the tenant was connected to before, by their former id."""
        query = f"select * from crm.{mart} where tenant_id = %s and system = %s"
        rows = self.query(query, tenant.slug, system)
        return {row["former_remote_id"]: row for row in rows if row["remote_id"] is None}

    def live(self, mart: str, system: str, tenant: Tenant = ACME) -> dict[str, Row]:
        """Those of them that are not marked as gone."""
        rows = self.rows(mart, system, tenant)
        return {key: row for key, row in rows.items() if row["deleted_at"] is None}


@contextmanager
def installation(world: World, pipedrive: Sandbox, orbit: OrbitSandbox) -> Iterator[TwoSystems]:
    """The Connect app before a world whose settings name both look-alikes."""
    with running_app(open_vault(world.warehouse, world.settings)) as (url, _):
        yield TwoSystems(world, pipedrive, orbit, url)


def world_of_environment(database_url: str) -> World:
    """A world whose settings come from the variables of `environment`."""
    return World(Warehouse(database_url), Settings())
