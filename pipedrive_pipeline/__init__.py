"""A company's CRM, complete and readable in its own Postgres, kept up to date by Dagster.

The package root registers how `ingest.refresh` opens a tenant: `ingest/` must not import `sync/`.
Nothing else belongs here; imports stay light.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from pipedrive_pipeline.ingest import asked
from pipedrive_pipeline.tenants import Tenant


def _opened(tenant: Tenant, system: str | None) -> AbstractContextManager[asked.Refreshes]:
    from pipedrive_pipeline.sync.refreshing import open_refresher  # imports dlt

    return open_refresher(tenant, system)


asked.open_with(_opened)
