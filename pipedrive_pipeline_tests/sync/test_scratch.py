"""Folders of runs: one a run, nobody removes a live one, dead ones are removed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.runs.scratch import clear_scratch, scratch
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.sync.conftest import ACME, SYSTEM

HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(pipeline_home=tmp_path)


@contextmanager
def live_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that works in this folder until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_of_a_live_process_stays_and_one_of_a_dead_process_goes(
    settings: Settings, warehouse: Warehouse
) -> None:
    with scratch(settings, warehouse, Scope(ACME, SYSTEM)) as folder:
        other = folder.parent / "of another process"
    other.mkdir()
    (other / "rows.csv").write_text("1")

    with live_process(other) as process:
        with scratch(settings, warehouse, Scope(ACME, SYSTEM)) as folder:
            clear_scratch(settings, warehouse, Scope(ACME, SYSTEM))
            assert folder.is_dir()
            assert (other / "rows.csv").exists()
        process.kill()
        process.wait()
        with scratch(settings, warehouse, Scope(ACME, SYSTEM)):
            assert not other.exists()

    assert not folder.exists()
    clear_scratch(settings, warehouse, Scope(ACME, SYSTEM))
    assert not folder.parent.exists()


def test_two_databases_under_one_home_have_folders_of_their_own(
    settings: Settings, warehouse: Warehouse, database_template: str
) -> None:
    """Staging and production from one checkout: 82 of 88 runs failed, each on the other's files."""
    with databases.copy_of(database_template) as url:
        other = Warehouse(url)
        with (
            scratch(settings, warehouse, Scope(ACME, SYSTEM)) as ours,
            scratch(settings, other, Scope(ACME, SYSTEM)) as theirs,
        ):
            clear_scratch(settings, other, Scope(ACME, SYSTEM))

            assert ours.is_dir()
            assert theirs.is_dir()
            assert ours.parent != theirs.parent


def test_a_database_is_the_same_under_every_url(warehouse: Warehouse) -> None:
    again = Warehouse(warehouse.url + "&application_name=x")

    assert again.identity() == warehouse.identity()
