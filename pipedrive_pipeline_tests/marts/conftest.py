"""The marts' fixtures: a migrated warehouse, the tenants acme and bravo, raw tables by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.databases import warehouse_at
from pipedrive_pipeline_tests.marts.raw_tables import RawTables
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
    with databases.database(postgres, template=template) as url:
        yield warehouse_at(url)


@pytest.fixture
def raw(warehouse: Warehouse) -> RawTables:
    """Acme's raw tables, none made yet."""
    return RawTables(warehouse, databases.ACME)
