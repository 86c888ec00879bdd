"""Fixtures of every room: a warehouse of one's own, and settings that point to it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests import databases

# The whole suite runs with a second, made-up system registered, child processes too.
os.environ["SYSTEM_MODULES"] = "pipedrive_pipeline_tests.orbit.connector"


@pytest.fixture(scope="session")
def database_template() -> Iterator[str]:
    """The URL of a migrated database that tests copy."""
    with databases.server() as url:
        yield url


@pytest.fixture
def database_url(database_template: str) -> Iterator[str]:
    """A migrated database of this test's own."""
    with databases.copy_of(database_template) as url:
        yield url


@pytest.fixture
def warehouse(database_url: str) -> Warehouse:
    """The warehouse in this test's database."""
    return Warehouse(database_url)
