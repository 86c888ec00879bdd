"""Which entities a tenant reads: what is on by default, or what its settings leave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.schedule.cycles import entities_waiting
from pipedrive_pipeline.sync.tenancy.configuration import entities_read
from pipedrive_pipeline_tests import databases
from pipedrive_pipeline_tests.sync.conftest import ACME, SYSTEM, ControlTables

SCOPE = Scope(ACME, SYSTEM)
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def test_a_tenant_without_settings_reads_what_is_on_by_default(control: ControlTables) -> None:
    """Also one whose settings were saved without naming entities."""
    control.run("update integration.sync_settings set entities_off = null, every_hours = 3")
    unnamed = entities_read(control.warehouse, SCOPE)
    control.run("delete from integration.sync_settings")

    without = entities_read(control.warehouse, SCOPE)

    assert unnamed == without
    assert set(without) == set(PIPEDRIVE.by_name) - set(PIPEDRIVE.off_by_default)
    assert list(without) == [name for name in PIPEDRIVE.by_name if name in without]


@pytest.mark.parametrize(
    ("off", "also_off"),
    [
        ({"deals"}, {"deal_products", "deal_participants", "deal_changes"}),
        ({"deals", "leads"}, {"deal_products", "deal_participants", "deal_changes", "deal_fields"}),
        ({"persons"}, {"person_fields"}),
        ({"notes"}, set()),
    ],
)
def test_children_and_definitions_are_off_with_what_they_belong_to(
    control: ControlTables, off: set[str], also_off: set[str]
) -> None:
    """Leads have the fields of deals, which are read for either."""
    databases.read_only(control.warehouse, ACME, set(PIPEDRIVE.by_name) - off)

    left_out = set(PIPEDRIVE.by_name) - set(entities_read(control.warehouse, SCOPE))

    assert left_out == off | also_off


@pytest.mark.parametrize(("hours", "is_waiting"), [(20, True), (22, False), (24, False)])
def test_a_cycle_of_a_day_has_passed_some_hours_early(
    control: ControlTables, hours: int, *, is_waiting: bool
) -> None:
    """A daily run that begins a second earlier than yesterday's must not skip a day."""
    control.run(
        "insert into integration.runs"
        " (tenant_id, system, sync_type, trigger, status, started_at, completed_at)"
        " values ('acme', 'pipedrive', 'full', 'manual', 'success', %s, %s)",
        [NOW - timedelta(hours=hours)] * 2,
    )
    control.run("update integration.connections set connected_at = '2026-01-01'")
    control.run(
        "insert into integration.run_entities"
        " (tenant_id, run_id, system, started_at, entity, status, fetched)"
        " select tenant_id, id, system, started_at, 'notes', 'complete', 0 from integration.runs"
    )

    waiting = entities_waiting(control.warehouse, SCOPE, NOW)

    assert waiting == ({"notes"} if is_waiting else set())
