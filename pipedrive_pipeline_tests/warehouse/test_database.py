"""A warehouse's address, however little of it is spelled out."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from pipedrive_pipeline.ingest.dlt_internals.destination import pipeline
from pipedrive_pipeline.warehouse.database import Warehouse


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


def test_an_address_with_a_password_is_taken_as_it_is(database_url: str) -> None:
    assert Warehouse(database_url).full_url() == database_url
