"""A full disk is named as one, wherever it is, and the next run goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipedrive_pipeline.errors import DiskFull
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.scenarios.oracle import assert_raw_equals_source
from pipedrive_pipeline_tests.scenarios.world import World

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 64 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs the rights of root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_under_pipeline_home_is_named(
    world: World, sandbox: Sandbox, small_disk: Path
) -> None:
    """It ended as `unexpected`: nobody who is woken by that looks at a disk."""
    settings = world.settings.model_copy(update={"pipeline_home": small_disk})
    cramped = World(world.warehouse, settings)

    with pytest.raises(DiskFull, match="PIPELINE_HOME"):
        cramped.sync(sync_type="full")

    (row,) = world.history()
    assert [error["code"] for error in row["errors"]] == ["disk_full"]
    world.sync(sync_type="full")
    assert_raw_equals_source(world, sandbox)


@pytest.mark.parametrize("table", ["raw_pipedrive_acme.persons", "crm.contacts"])
def test_a_full_disk_of_postgres_is_named(table: str, world: World, sandbox: Sandbox) -> None:
    """Of a load by dlt and of a build; it was taken for an outage, which heals by itself."""
    world.first_sync()
    with world.warehouse.transaction() as connection:
        connection.execute(
            "create function public.full_disk() returns trigger language plpgsql as"
            " $$ begin raise exception 'no space' using errcode = 'disk_full'; end $$"
        )
        connection.execute(
            f"create trigger full_disk before insert or update on {table}"
            " for each row execute function public.full_disk()".encode()
        )
    sandbox.account.edit("persons", 3, name="Somebody")

    with pytest.raises(DiskFull):
        world.sync()

    with world.warehouse.transaction() as connection:
        connection.execute("drop function public.full_disk cascade")
    world.sync()
    assert_raw_equals_source(world, sandbox)
    names = {row["pipedrive_id"]: row["name"] for row in world.rows("crm", "contacts")}
    assert names[3] == "Somebody"
