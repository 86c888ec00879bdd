"""Real Postgres for tests: one server for each session, one database for each test.

Each database is a copy of a migrated template.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from secrets import randbelow
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.pipedrive.entities import ENTITIES
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import DATABASE_IDENTITY, Warehouse
from pipedrive_pipeline.warehouse.embedded import ensure_running
from pipedrive_pipeline.warehouse.migrations import migrate
from pipedrive_pipeline.warehouse.reused_connection import ReusingWarehouse
from pipedrive_pipeline_tests.folders import open_folder

TEMPLATE = "template_of_tests"
_ADMINISTRATORS: dict[str, psycopg.Connection] = {}  # by server
_KEPT: dict[str, list[list[tuple[psycopg.Connection, float]]]] = {}  # by the database's URL
# The entities of Pipedrive that tenants of tests read. Calls and tokens are counted exactly in many
# tests, so that another entity is read only by a test that is about it: see `read_everything`.
ENTITIES_READ = ("organization_fields", "person_fields", "users", "organizations", "persons")
ENTITIES_OFF = tuple(name for name in ENTITIES if name not in ENTITIES_READ)


@contextmanager
def server() -> Iterator[str]:
    """The URL of a migrated template database on a server that ends with the block."""
    home = open_folder()
    running = ensure_running(home)
    try:
        with psycopg.connect(running.url, autocommit=True) as connection:
            # It ends with the session and need not survive a crash of the machine.
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(
                    sql.SQL("alter system set {} = off").format(sql.Identifier(setting))
                )
            connection.execute("select pg_reload_conf()")
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
        template = at(running.url, TEMPLATE)
        migrate(Warehouse(template))
        read_few_entities(template)
        yield template
    finally:
        if session := _ADMINISTRATORS.pop(at(running.url, "postgres"), None):
            session.close()
        running.stop()
        shutil.rmtree(home, ignore_errors=True)


def warehouse_at(url: str) -> Warehouse:
    """A database's warehouse that uses its connection again, as runs do; `drop` closes it."""
    idle: list[tuple[psycopg.Connection, float]] = []
    _KEPT.setdefault(url, []).append(idle)
    return ReusingWarehouse(url, idle)


def close_kept(url: str) -> None:
    """Closes what the warehouses of this database keep open."""
    for idle in _KEPT.get(url, []):  # a database may be made again under its name
        while idle:
            idle.pop()[0].close()


@contextmanager
def copy_of(template: str) -> Iterator[str]:
    """The URL of a fresh copy of the template, dropped at the end."""
    name = f"test_{uuid4().hex}"
    copy(template, name)
    yield at(template, name)
    drop(at(template, name))


def administrator(url: str) -> psycopg.Connection:
    """A session on this server that makes and drops databases; it stays open for the next one.

    Two sessions for each database were a quarter of the processor time that it took.
    """
    server_url = at(url, "postgres")
    kept = _ADMINISTRATORS.get(server_url)
    if kept is None or kept.closed:
        kept = _ADMINISTRATORS[server_url] = psycopg.connect(server_url, autocommit=True)
    return kept


def copy(source: str, name: str) -> None:
    """Makes a database of this name as a copy of another, whose sessions it ends."""
    source_name = urlsplit(source).path[1:]
    connection = administrator(source)
    connection.execute(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = %s",
        [source_name],
    )
    connection.execute(
        sql.SQL("create database {} template {} strategy file_copy").format(
            sql.Identifier(name), sql.Identifier(source_name)
        )
    )
    adopt(at(source, name))


def drop(url: str) -> None:
    """Drops a database, whoever uses it."""
    close_kept(url)
    name = sql.Identifier(urlsplit(url).path[1:])
    administrator(url).execute(sql.SQL("drop database {} with (force)").format(name))


def adopt(url: str) -> None:
    """Lets a copied database use the roles of its template, as if both were one installation.

    `migrate` would make roles of its own, which tests of one copy after another do not need. A
    sink's role has its number in its name, so each copy begins with another number: a test that
    drops the role of its sink must not take it from a test beside it.
    """
    with psycopg.connect(url) as connection:
        connection.execute(
            f"update integration.installation set database_identity = ({DATABASE_IDENTITY})"
        )
        connection.execute(
            "select setval(pg_get_serial_sequence('integration.sink_states', 'id'), %s)",
            [1_000 + randbelow(1_000_000_000)],
        )


def make_independent(url: str) -> None:
    """Gives a copied database roles of its own; other tests use and drop those of the template."""
    with psycopg.connect(url) as connection:
        connection.execute("update integration.installation set database_identity = 'of a copy'")
    migrate(Warehouse(url), notify=lambda _line: None)


def read_few_entities(url: str) -> None:
    """Gives each new tenant of a database settings by which it reads `ENTITIES_READ` only.

    A test that inserts settings of its own replaces them, and reads the same few entities unless it
    names others.
    """
    with psycopg.connect(url) as connection:
        statement = sql.SQL(_FEW_ENTITIES).format(entities_off=sql.Literal([*ENTITIES_OFF]))
        connection.execute(statement)


def read_everything(warehouse: Warehouse, tenant: Tenant) -> None:
    """Lets a tenant read every entity, also those that are off by default."""
    read_only(warehouse, tenant, ENTITIES)


def read_only(warehouse: Warehouse, tenant: Tenant, names: Collection[str]) -> None:
    """Lets a tenant read these entities and no others, each with every sync."""
    off = [name for name in ENTITIES if name not in names]
    with warehouse.transaction(tenant) as connection:
        connection.execute(
            "update integration.sync_settings set entities_off = %s, entity_cycles = %s"
            " where tenant_id = %s and system = 'pipedrive'",
            [off, Jsonb(dict.fromkeys(ENTITIES, 0)), tenant.slug],
        )


_FEW_ENTITIES = """
create schema of_tests;
create function of_tests.add_settings() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into integration.sync_settings (tenant_id, system, entities_off, updated_by)
    values (new.slug, 'pipedrive', {entities_off}, 'suite');
    return null;
end
$$;
create function of_tests.replace_settings() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from integration.sync_settings
    where tenant_id = new.tenant_id and system = new.system and updated_by = 'suite';
    if new.system = 'pipedrive' then
        new.entities_off = coalesce(new.entities_off, {entities_off});
    end if;
    return new;
end
$$;
create trigger add_settings after insert on integration.tenants
for each row execute function of_tests.add_settings();
create trigger replace_settings before insert on integration.sync_settings
for each row execute function of_tests.replace_settings();
"""


def role_name(connection: psycopg.Connection, kind: str) -> str:
    """The name of a role of this installation, such as that of the kind `app`."""
    row = connection.execute("select integration.role_name(%s)", [kind]).fetchone()
    assert row
    return str(row[0])


def become(connection: psycopg.Connection, kind: str) -> None:
    """Takes on a role of this installation until the transaction ends."""
    connection.execute("select set_config('role', integration.role_name(%s), true)", [kind])


def at(url: str, database: str) -> str:
    """The same server, another database."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()
