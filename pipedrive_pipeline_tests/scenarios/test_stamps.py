"""A record is as the source gave it last, also where its time stamp went back or is the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline.sync.signals.refresh import open_refresher
from pipedrive_pipeline_tests.scenarios.oracle import assert_all_equals_source
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

pytestmark = pytest.mark.slow

NUMBER = 7
ENTITIES = ("organizations", "persons")
WAYS: Final[tuple[tuple[SyncType, timedelta], ...]] = (
    ("incremental", timedelta(hours=1)),
    ("full", timedelta(microseconds=1)),
    ("sweep", timedelta(0)),
)


def stored(world: World, entity: str) -> dict[str, Any]:
    return next(row for row in world.raw(ACME, entity) if row["id"] == NUMBER)


def edit_back(world: World, account: CrmAccount, entity: str, name: str, back: timedelta) -> str:
    """Edits a record and shows the edit under a stamp that lies before the stored one."""
    stamp = stored(world, entity)["update_time"] - back
    account.edit(entity, NUMBER, name=name)
    account.plant(entity, NUMBER, update_time=stamp.isoformat())
    return str(stamp)


def test_an_edit_under_an_earlier_or_equal_stamp_is_taken_in_by_every_way(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """A server's clock that went back, or an import with local time, hid edits for ever."""
    world.first_sync()

    for way, back in WAYS:
        stamps = {entity: edit_back(world, account, entity, way, back) for entity in ENTITIES}
        reads = world.sync(sync_type=way).reads
        for entity in ENTITIES:
            row = stored(world, entity)
            assert (row["name"], str(row["update_time"])) == (way, stamps[entity]), (way, entity)
            assert not reads[entity].stale
    for entity in ENTITIES:
        edit_back(world, account, entity, "refreshed", timedelta(days=1))
        with open_refresher(
            Scope(ACME, SYSTEM), warehouse=world.warehouse, settings=world.settings
        ) as refresher:
            assert refresher.refresh(entity, [str(NUMBER)]).updated == 1
        assert stored(world, entity)["name"] == "refreshed"
    world.sync()

    assert_all_equals_source(world, sandbox)


def test_a_stamp_edited_in_raw_is_repaired_by_the_next_sweep(
    world: World, sandbox: Sandbox
) -> None:
    """An analyst's edit of the stamp kept the record as it was, and no count showed it."""
    world.first_sync()
    with world.warehouse.transaction(tenant=ACME) as connection:
        for entity in ENTITIES:
            connection.execute(
                f"update raw_pipedrive_acme.{entity}"
                " set update_time = '2099-01-01', name = 'edited here' where id = 7"
            )

    reads = world.sync(sync_type="sweep").reads

    assert [reads[entity].stale for entity in ENTITIES] == [0, 0]
    assert_all_equals_source(world, sandbox)
