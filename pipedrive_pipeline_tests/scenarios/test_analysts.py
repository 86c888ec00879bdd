"""docs/analysts.md as it is typed: logins, psql, and an app's row level security."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, seeded, serve
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.embedded.binaries import of_the_wheel
from pipedrive_pipeline_tests.databases import role_name
from pipedrive_pipeline_tests.scenarios.world import World, world_at

PAGE = (PROJECT_ROOT / "docs" / "analysts.md").read_text()
SQL = re.findall(r"```sql\n(.*?)```", PAGE.partition("## A login")[2], re.DOTALL)
LOGIN, SHOP, READ = SQL
ROLES = ("ada", "shop")
DEFAULT, ACME = Tenant("default"), Tenant("acme")


@pytest.fixture
def account() -> CrmAccount:
    """Forty custom fields of an organization, twenty of a person."""
    return seeded(20, 30)


@pytest.fixture
def world(database_url: str, tmp_path: Path, account: CrmAccount) -> Iterator[World]:
    """Two tenants of one company, both synced; the page's roles are gone at the end."""
    world = world_at(database_url, tmp_path)
    with serve(account) as sandbox:
        for tenant in (DEFAULT, ACME):
            world.connect(tenant, sandbox)
            world.sync(tenant)
    yield world
    with world.warehouse.connect() as connection:
        for role in ROLES:
            if connection.execute("select from pg_roles where rolname = %s", (role,)).fetchone():
                connection.execute(f"drop owned by {role}".encode())
                connection.execute(f"drop role {role}".encode())


def typed(world: World, command: str, user: str = "ada") -> subprocess.CompletedProcess[str]:
    """One command in psql, as a person types it."""
    url = urlsplit(world.warehouse.url)
    address = url._replace(netloc=f"{user}@{url.hostname}:{url.port}").geturl()
    return subprocess.run(
        [program(), address, "-X", "-P", "pager=off", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def program() -> str:
    """The embedded server's psql, or that on PATH."""
    programs = of_the_wheel().psql
    return str(programs) if programs else str(shutil.which("psql"))


@pytest.mark.slow
def test_an_analysts_login_reads_its_views_like_a_dictionary(world: World) -> None:
    """By the page's own words; nothing else is open to it."""
    with world.warehouse.connect() as connection:
        connection.execute(LOGIN.encode())

    described = typed(world, r"\d+ customers").stdout
    closed = {
        name: typed(world, f"select from {name}").stderr
        for name in (
            "analytics_acme.customers",
            "raw_pipedrive_default.organizations",
            "integration.fields",
            "integration.rejected_values",
            "crm.customers",
        )
    }

    lines = [line for line in described.splitlines() if "|" in line]
    of_columns = [[cell.strip() for cell in line.split("|")] for line in lines[1:]]
    meanings = {cells[0]: (cells[1], cells[-1]) for cells in of_columns}
    assert len(meanings) > 80
    assert all(meaning for _, meaning in meanings.values())
    kind, meaning = meanings["kreditlimit_amount"]
    assert kind == "numeric"
    assert re.fullmatch(
        r"Kreditlimit \(field [0-9a-f]{40} of pipedrive, type monetary\): amount", meaning
    )
    assert all("permission denied" in error for error in closed.values()), closed
    assert "20" in typed(world, "select count(*) from customers_all").stdout


ATTACKS = (
    "select from integration.api_keys",
    "select from integration.audit_log",
    "select from integration.reader_logins",
    "insert into integration.reader_logins (login, tenant_id) values ('shop', 'default')",
    "select integration.add_reader('shop', 'default')",
    "insert into integration.audit_log (who, action) values ('the operator', 'key.add')",
    "select from raw_pipedrive_default.organizations",
    "select from analytics_default.customers",
    "update crm.customers set name = 'x'",
    "delete from crm.customers",
    "insert into crm.customers (tenant_id, name) values ('acme', 'x')",
    "truncate crm.customers",
    "set session authorization postgres",
)


@pytest.mark.slow
def test_an_apps_login_reads_its_tenant_and_reaches_nothing_else(world: World) -> None:
    """By the page's own words. The recipe before let an app read and forge every tenant's keys."""
    with world.warehouse.connect() as connection:
        connection.execute(SHOP.encode())
        engine, app = (role_name(connection, kind) for kind in ("engine", "app"))
    of_tenants = (
        "select distinct tenant_id from crm.customers union select tenant_id from crm.contacts"
    )

    assert "(20 rows)" in typed(world, READ, "shop").stdout
    for setting in (
        "",
        "set pipeline.tenant_id = 'default'; ",
        "set search_path = public; create temp table reader_logins as select 1; ",
    ):
        seen = typed(world, f"{setting}copy ({of_tenants}) to stdout", "shop").stdout
        assert seen.splitlines()[-1] == "acme"
        assert "default" not in seen
    refusals = {
        attack: typed(world, attack, "shop").stderr
        for attack in (*ATTACKS, f"set role {engine}", f"set role {app}")
    }
    assert all("permission denied" in error for error in refusals.values()), refusals
    with world.warehouse.connect() as connection:
        connection.execute("select integration.remove_reader('shop', 'acme')")
    assert "(0 rows)" in typed(world, READ, "shop").stdout
