"""A database restored as the guide says is whole, and the next sync brings it up to date."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from pipedrive_pipeline.sandbox import seeded, serve
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.embedded.binaries import of_the_wheel
from pipedrive_pipeline_tests.databases import at
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.world import ACME, world_at

GUIDE = PROJECT_ROOT / "docs" / "operating.md"


def commands() -> list[str]:
    """What the guide types: the backup, then the restore."""
    section = GUIDE.read_text().partition("## Backup and restore")[2]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


@pytest.mark.slow
def test_a_restored_warehouse_goes_on_from_the_dump(database_url: str, tmp_path: Path) -> None:
    """Rows and cursors are of one moment: what happened since is read again, and nothing twice."""
    backup, restore = commands()
    new_url = at(database_url, "restored")
    settings = {
        "DATABASE_URL": database_url,
        "NEW_DATABASE_URL": new_url,
        "TOKEN_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "PIPELINE_HOME": str(tmp_path),
    }
    programs = f"{of_the_wheel().folder}:{os.environ['PATH']}"

    def typed(block: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", block.replace("/var/backups", str(tmp_path))],
            cwd=PROJECT_ROOT,
            env={**os.environ, **settings, "PATH": programs},
            capture_output=True,
            text=True,
            check=False,
        )

    account = seeded(12, 35)
    world = world_at(database_url, tmp_path)
    with serve(account) as sandbox:
        world.connect(ACME, sandbox)
        world.sync(sync_type="full")
        saved = typed(backup)
        account.edit("persons", 1, name="Changed Since")
        world.sync()

        with psycopg.connect(at(database_url, "postgres"), autocommit=True) as server:
            server.execute("create database restored")
            filled, again = typed(restore), typed(restore)
            restored = replace(
                world,
                warehouse=Warehouse(new_url),
                settings=world.settings.model_copy(update={"database_url": SecretStr(new_url)}),
            )
            before = restored.rows("crm", "contacts")
            synced = restored.sync()
            assert_all_equals_source(restored, sandbox)
            server.execute("drop database restored with (force)")

    assert (saved.returncode, filled.returncode, again.returncode) == (0, 0, 2), saved.stderr
    assert "keys are not in it" in saved.stdout
    assert "is not empty" in again.stderr
    assert len(before) == 35
    assert synced.built.counts["contacts"].created == 0
