"""A warehouse's address, however little of it is spelled out."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from pipedrive_pipeline.ingest.dlt_internals.destination import pipeline
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.urls import facts_of, url_of


def test_an_address_without_a_password_is_enough_for_every_library(
    database_url: str, tmp_path: Path
) -> None:
    """Servers that trust a socket or a certificate ask for none; dlt refuses such an address."""
    parts = urlsplit(database_url)
    bare = Warehouse(parts._replace(netloc=f"{parts.username}@{parts.hostname}").geturl())

    full = bare.full_url()

    assert urlsplit(full).password
    with psycopg.connect(full) as connection:
        assert connection.info.dbname == parts.path[1:]
    pipeline(
        "pipedrive_acme",
        dataset="raw_pipedrive_acme",
        staging="staging_pipedrive_acme",
        url=full,
        working_directory=tmp_path,
    ).sync_destination()


def test_a_password_is_taken_as_it_is_with_the_blanks_at_its_ends(
    database_url: str, tmp_path: Path
) -> None:
    """They were taken away by dlt: every load was refused, while `doctor` said that all is well."""
    role, word = f"blank_{uuid4().hex[:8]}", " p%@/: "
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"create role {role} login password '{word}'".encode())
        facts = {"user": role, "password": word}
        url = url_of(facts_of(database_url) | facts)
        destination = pipeline(
            "pipedrive_acme",
            dataset="raw_pipedrive_acme",
            staging="staging_pipedrive_acme",
            url=Warehouse(url).full_url(),
            working_directory=tmp_path,
        )

        with destination.sql_client() as client:
            given = client.native_connection.info.password

        connection.execute(f"drop role {role}".encode())
    assert given == word


def test_a_service_is_named_in_messages() -> None:
    """They named "the default database on the local socket", wherever the service led to."""
    assert Warehouse("postgresql:///?service=warehouse").place == "the service warehouse"


@pytest.mark.parametrize(
    ("setting", "of_the_server", "ours"),
    [("jit", "on", "off"), ("exit_on_error", "on", "off"), ("gin_fuzzy_search_limit", "3", "0")],
)
def test_a_default_of_the_server_that_costs_time_rows_or_the_session_is_not_ours(
    setting: str, of_the_server: str, ours: str, warehouse: Warehouse
) -> None:
    """With Postgres's own default of `jit` the build of 500 rows took seven times as long."""
    with warehouse.connect() as connection:
        connection.execute(
            sql.SQL("alter database {} set {} = {}").format(
                sql.Identifier(connection.info.dbname), sql.Identifier(setting), of_the_server
            )
        )

    with warehouse.connect() as connection:
        row = connection.execute("select current_setting(%s)", [setting]).fetchone()

    assert row == (ours,)
