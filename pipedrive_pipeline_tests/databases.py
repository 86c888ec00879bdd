"""Real Postgres for tests: one server for each session, one database for each test.

Each database is a copy of a migrated template.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from pipedrive_pipeline.warehouse.database import DATABASE_IDENTITY, Warehouse
from pipedrive_pipeline.warehouse.embedded import ensure_running
from pipedrive_pipeline.warehouse.migrations import migrate

TEMPLATE = "template_of_tests"


@contextmanager
def server() -> Iterator[str]:
    """The URL of a migrated template database on a server that ends with the block."""
    home = Path(tempfile.mkdtemp(prefix="pp-"))
    home.chmod(0o755)  # root's server runs as an account that must reach it
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
        yield template
    finally:
        running.stop()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def copy_of(template: str) -> Iterator[str]:
    """The URL of a fresh copy of the template, dropped at the end."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(at(template, "postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(urlsplit(template).path[1:])
            )
        )
        adopt(at(template, name))
        yield at(template, name)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def adopt(url: str) -> None:
    """Lets a copied database use the roles of its template, as if both were one installation.

    `migrate` would make roles of its own, which tests of one copy after another do not need.
    """
    with psycopg.connect(url) as connection:
        connection.execute(
            f"update integration.installation set database_identity = ({DATABASE_IDENTITY})"
        )


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
