"""The warehouse's fixtures: one database a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import sql

from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.warehouse import databases


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> str:
    return databases.server(request)


@pytest.fixture(scope="session")
def template(postgres: str) -> Iterator[str]:
    with databases.migrated(postgres) as name:
        yield name


@pytest.fixture
def warehouse(postgres: str, template: str) -> Iterator[Warehouse]:
    """A migrated warehouse with the tenants acme and bravo."""
    with databases.database(postgres, template=template) as url:
        yield Warehouse(url)


@pytest.fixture
def empty(postgres: str) -> Iterator[Warehouse]:
    """A database in which nothing was ever made."""
    with databases.database(postgres) as url:
        yield Warehouse(url)


@pytest.fixture(scope="session")
def owner(postgres: str) -> Iterator[str]:
    """An ordinary role that may create roles and databases' contents, nothing more."""
    databases.administer(postgres, sql.SQL("create role test_owner login createrole"))
    yield "test_owner"
    # What it owns went with the databases; what it was granted is let go of here.
    databases.administer(postgres, sql.SQL("drop owned by test_owner"))
    databases.administer(postgres, sql.SQL("drop role test_owner"))
