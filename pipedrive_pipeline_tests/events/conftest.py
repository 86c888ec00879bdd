"""A warehouse with two tenants, whose operator allows receivers on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipedrive_pipeline_tests.events.world import EventWorld
from pipedrive_pipeline_tests.scenarios.world import world_at
from pipedrive_pipeline_tests.warehouse.databases import ACME, BRAVO


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> EventWorld:
    scenario = world_at(database_url, tmp_path)
    with scenario.warehouse.transaction() as connection:
        for tenant in (ACME, BRAVO):
            connection.execute("insert into integration.tenants (slug) values (%s)", [tenant.slug])
    settings = scenario.settings.model_copy(update={"event_allowed_hosts": ("127.0.0.1",)})
    return EventWorld(scenario.warehouse, settings)
