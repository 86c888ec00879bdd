"""The app's own filter is taken out of every query: the database alone must keep tenants apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import psycopg
import pytest
from psycopg import sql

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.warehouse.pool import pooled
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.connect.tenants import client_with, filled_tenant

FILTER = re.compile(r"\w+\.(?:tenant_id|slug) = (%\(tenant\)s|%s)")
READ = [
    "/api/integrations",
    "/api/keys",
    *(
        f"{ROUTES}/{name}"
        for name in ("status", "fields", "field-mapping", "field-mapping/versions",
                     "field-mapping/versions/1", "sync/history", "sync/trends",
                     "sync-config")
    ),
]  # fmt: skip


class Unfiltered(psycopg.Cursor[Any]):
    """A cursor whose queries ask for the rows of all tenants."""

    taken_out: ClassVar[Counter[str]] = Counter()

    def execute(self, query: Any, *more: Any, **options: Any) -> Any:
        """The query without its tenant; the parameters stay as many as they were."""
        text = query.as_string(self) if isinstance(query, sql.Composable) else query
        changed, count = without_filter(text)
        self.taken_out["filters"] += count
        return super().execute(changed, *more, **options)


def without_filter(query: object) -> tuple[bytes, int]:
    """The query, and how many filters were in it."""
    text = query.decode() if isinstance(query, bytes) else str(query)
    changed, count = FILTER.subn(r"(\1)::text is not null", text)
    return changed.encode(), count


@pytest.fixture
def unfiltered(site: ConnectSite) -> Iterator[ConnectSite]:
    services = site.app.state.services
    warehouse = pooled(services.warehouse)
    assert isinstance(warehouse.pool.kwargs, dict)
    warehouse.pool.kwargs = {**warehouse.pool.kwargs, "cursor_factory": Unfiltered}
    Unfiltered.taken_out.clear()
    with warehouse.pool:
        site.app.state.services = replace(services, warehouse=warehouse)
        yield site
    site.app.state.services = services


def test_the_database_alone_keeps_tenants_apart(unfiltered: ConnectSite) -> None:
    """One forgotten `where` must not show a tenant's rows to another."""
    acme, bravo = filled_tenant(unfiltered, "acme", 1), filled_tenant(unfiltered, "bravo", 2)
    client = client_with(unfiltered, acme.keys[Role.ADMIN])

    answers = {path: client.get(path) for path in READ}
    revoked = client.delete(f"/api/keys/{bravo.ids['key_id']}")
    run = client.get(f"{ROUTES}/sync/history/{bravo.ids['run_id']}")
    asked = client.get(f"{ROUTES}/sync/requests/{bravo.ids['request_id']}")
    saved = client.put(f"{ROUTES}/sync-config", json={"everyHours": 9})

    assert Unfiltered.taken_out.total() > 40
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(
        READ, 200
    )
    for path, answer in answers.items():
        assert bravo.word not in answer.text, path
        assert path.endswith(("sync-config", "sync/trends")) or acme.word in answer.text, path
    assert [answer.status_code for answer in (revoked, run, asked, saved)] == [404, 404, 404, 200]
    assert unfiltered.world.rows(
        "select every_hours from integration.sync_settings where tenant_id = 'bravo'"
    ) == [{"every_hours": 5}]
