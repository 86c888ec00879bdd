"""A column of `crm` that somebody dropped, from the failing sync to the marts as they were."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.cli.terminal import Terminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World

pytestmark = pytest.mark.slow
WEBSITES = "select remote_id, website from crm.customers order by remote_id"


def websites(world: World) -> list[tuple[str, str | None]]:
    with world.warehouse.transaction() as connection:
        return connection.execute(WEBSITES).fetchall()


def test_a_dropped_column_is_named_and_comes_back_with_its_values(
    terminal: Terminal, world: World, sandbox: Sandbox
) -> None:
    """`sync` said `UndefinedColumn`, `doctor` and `migrate` said that all was well."""
    world.connect(ACME, sandbox)
    world.first_sync()
    before = websites(world)
    with world.warehouse.transaction() as connection:
        connection.execute("alter table crm.customers drop column website cascade")

    failed = terminal.run("sync", "--tenant", ACME.slug)
    doctor = terminal.run("doctor")
    migrated = terminal.run("migrate")
    remapped = terminal.run("remap", "--tenant", ACME.slug)

    assert (failed.code, doctor.code, migrated.code, remapped.code) == (1, 4, 0, 0)
    assert "crm.customers.website" in failed.err
    assert "`migrate`" in failed.err
    assert "crm.customers.website" in doctor.err
    assert "made again, empty: crm.customers.website." in migrated.out
    assert any(website for _, website in before)
    assert websites(world) == before
    with world.warehouse.transaction() as connection:
        connection.execute("select website from analytics_acme.customers")
