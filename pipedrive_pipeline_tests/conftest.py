"""Fixtures of every room: a warehouse of one's own, and settings that point to it."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest
from pydantic import SecretStr

from pipedrive_pipeline.cli import YOUNG_OBJECTS
from pipedrive_pipeline.cli.session import CommandSession, enter_dagster
from pipedrive_pipeline.connectors.registry import systems
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests import databases, folders
from pipedrive_pipeline_tests.orbit.connector import ORBIT

# The suite runs with a second, made-up system registered. Child processes know Pipedrive only,
# unless a test sets `SYSTEM_MODULES`: commands as the README shows them name no system.
assert ORBIT in systems()


def pytest_configure(config: pytest.Config) -> None:
    """Puts temporary files into memory for this session, its workers and child processes."""
    if "TMPDIR" in os.environ:  # a caller's choice, or set for this worker by its session
        return
    session = ExitStack()
    config.add_cleanup(session.close)
    folder = session.enter_context(folders.in_memory())
    if folder is not None:
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def pytest_collection_finish() -> None:
    """Lets the garbage collector pass over modules and tests, and look at the rest less often.

    As in our commands: it took a twentieth of a test's processor time.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


@pytest.fixture(scope="session")
def database_template() -> Iterator[str]:
    """The URL of a migrated database that tests copy."""
    with databases.server() as url:
        yield url


@pytest.fixture(scope="session")
def dagster_template(database_template: str) -> Iterator[str]:
    """The same with the tables of Dagster, which take half a second to make."""
    with databases.copy_of(database_template) as url:
        with tempfile.TemporaryDirectory(prefix="pp-") as home, patch.dict(os.environ):
            settings = Settings(database_url=SecretStr(url), pipeline_home=Path(home))
            enter_dagster(CommandSession(settings, Warehouse(url)))
        yield url


@pytest.fixture
def database_url(database_template: str) -> Iterator[str]:
    """A migrated database of this test's own."""
    with databases.copy_of(database_template) as url:
        yield url


@pytest.fixture
def warehouse(database_url: str) -> Warehouse:
    """The warehouse in this test's database."""
    return databases.warehouse_at(database_url)
