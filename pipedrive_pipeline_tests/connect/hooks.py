"""A tenant's webhook and its events, as the source sends them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.webhooks import rows
from pipedrive_pipeline.sync.webhooks.lifecycle import USER
from pipedrive_pipeline.sync.webhooks.rows import Secrets
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.connect.browser import ROUTES, ConnectSite
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany
from pipedrive_pipeline_tests.vault.world import PIPEDRIVE


@dataclass(frozen=True)
class Hook:
    """A tenant's webhook, as the source knows it."""

    client: httpx.Client
    tenant: Tenant
    secrets: Secrets
    company_id: str

    def send(
        self,
        body: Any = None,
        *,
        token: str | None = None,
        auth: tuple[str, str] | None = None,
    ) -> httpx.Response:
        """The answer to an event, sent with the webhook's own token and password or with others."""
        content = body if isinstance(body, bytes) else json.dumps(body or self.event()).encode()
        return self.client.post(
            f"{ROUTES}/webhook/{token or self.secrets.token}",
            content=content,
            headers={"content-type": "application/json"},
            auth=auth or (USER, self.secrets.password),
        )

    def event(self, record_id: int = 5, **meta: Any) -> dict[str, Any]:
        """A change of an organization of the tenant's company."""
        facts = {
            "action": "change",
            "entity": "organization",
            "entity_id": str(record_id),
            "company_id": self.company_id,
            "user_id": "7",
            "id": str(uuid4()),
            "timestamp": "2026-11-29T10:00:00Z",
            "version": "2.0",
            "webhook_id": "1",
            "attempt": 1,
        }
        organization = {"id": record_id, "name": "Acme Holding"}
        return {"meta": facts | meta, "data": organization, "previous": {"name": "Acme"}}


def hook_of(site: ConnectSite, tenant: Tenant, company: OAuthCompany) -> Hook:
    """A connected tenant whose webhook the source has made."""
    access, refresh = site.world.oauth.granted(company)
    site.world.store(tenant, access, refresh, company)
    warehouse, scope, fresh = site.world.vault.warehouse, Scope(tenant, PIPEDRIVE), Secrets()
    rows.begin(warehouse, scope, site.url, fresh)
    rows.made(warehouse, scope, fresh, "1", gap_reason="it was made", is_proven=True)
    return Hook(site.client(), tenant, fresh, str(company.id))
