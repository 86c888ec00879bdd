"""A database with an app's schema next to ours."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.sinks.app_schema import App, app_of


@pytest.fixture
def app(warehouse: Warehouse) -> App:
    return app_of(warehouse)
