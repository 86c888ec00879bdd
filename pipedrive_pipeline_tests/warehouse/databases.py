"""Databases for tests of warehouse and marts: one for each test, copied from a migrated template.

`PIPELINE_TEST_SERVER` names another server to run the same tests on, such as a PostgreSQL 15; its
role must be a superuser.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.migrations import migrate
from pipedrive_pipeline_tests.databases import administrator, adopt, close_kept

ACME, BRAVO = Tenant("acme"), Tenant("bravo")


def server(request: pytest.FixtureRequest) -> str:
    """The URL of a server, as its superuser: the session's, unless another one is named."""
    given = os.environ.get("PIPELINE_TEST_SERVER")
    if given:
        return given
    return str(request.getfixturevalue("database_template"))


@contextmanager
def database(
    server_url: str, *, template: str = "template1", owner: str | None = None
) -> Iterator[str]:
    """The URL of a new database, as the server's superuser; dropped at the end."""
    name = f"test_{uuid4().hex[:12]}"
    # By the log, Postgres's default, a copy takes half as much processor time again.
    statement = sql.SQL("create database {} template {} strategy file_copy").format(
        sql.Identifier(name), sql.Identifier(template)
    )
    if owner:
        statement += sql.SQL(" owner {}").format(sql.Identifier(owner))
    administer(server_url, statement)
    url = urlsplit(server_url)._replace(path=f"/{name}").geturl()
    if template != "template1":
        adopt(url)
    yield url
    close_kept(url)
    administer(server_url, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@contextmanager
def migrated(server_url: str) -> Iterator[str]:
    """The name of a database with our schema and the tenants acme and bravo."""
    with database(server_url) as url:
        warehouse = Warehouse(url)
        migrate(warehouse)
        with warehouse.transaction() as connection:
            connection.execute("insert into integration.tenants (slug) values ('acme'), ('bravo')")
        yield urlsplit(url).path.removeprefix("/")


def administer(server_url: str, statement: sql.Composed | sql.SQL) -> None:
    """Run one statement as the superuser, outside a transaction."""
    administrator(server_url).execute(statement)


def as_role(url: str, role: str) -> Warehouse:
    """The same database as another role; the servers of these tests ask for no password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return Warehouse(parts._replace(netloc=f"{role}:x@{host}").geturl())


def row(url: str, query: str) -> tuple[Any, ...]:
    """The first row of a query."""
    with psycopg.connect(url) as connection:
        first = connection.execute(query.encode()).fetchone()
    assert first is not None
    return first
