"""A registered, connected tenant without a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg.rows import dict_row

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.runs.history import HistoryRow, RunFacts, SyncType, begin
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse

ACME, BETA = Tenant("acme"), Tenant("beta")
SYSTEM = "pipedrive"


@dataclass(frozen=True)
class ControlTables:
    """The control tables of one warehouse."""

    warehouse: Warehouse

    def run(self, text: str, values: Sequence[object] = ()) -> None:
        """A statement of the test's own."""
        with self.warehouse.transaction() as connection:
            connection.execute(text.encode(), values)

    def rows(self, text: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """What a query finds."""
        with self.warehouse.transaction() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return cursor.execute(text.encode(), values).fetchall()

    def begin(
        self, tenant: Tenant = ACME, sync_type: SyncType = "incremental", run_id: str | None = None
    ) -> HistoryRow:
        """A run's row, opened."""
        return begin(self.warehouse, RunFacts(Scope(tenant, SYSTEM), sync_type, "manual", run_id))

    def ask(self, tenant: Tenant = ACME, sync_type: SyncType = "incremental") -> None:
        """A queued request."""
        self.run(
            "insert into integration.sync_requests (tenant_id, system, sync_type, trigger)"
            " values (%s, 'pipedrive', %s, 'manual')",
            [tenant.slug, sync_type],
        )


@pytest.fixture
def control(warehouse: Warehouse, tmp_path: Path) -> ControlTables:
    """Tenants acme and beta, both connected."""
    control = ControlTables(warehouse)
    for tenant in (ACME, BETA):
        registry.add(warehouse, Settings(pipeline_home=tmp_path), tenant)
        control.run(
            "insert into integration.connections (tenant_id, system, kind, state, company_id,"
            " access_token, api_domain, connected_at)"
            " values (%s, 'pipedrive', 'api_token', 'connected', '77', 'x', 'x', now())",
            [tenant.slug],
        )
    return control
