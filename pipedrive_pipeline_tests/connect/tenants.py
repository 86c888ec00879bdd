"""Two tenants with rows in every table that the API reads, each marked with its own word."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.consent import links
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany

FILL = """
update integration.connections
set company_name = %(word)s, company_domain = %(word)s, scopes = array['base', %(word)s]
where tenant_id = %(tenant)s;
with log as (
    insert into integration.runs (
        tenant_id, system, sync_type, trigger, status, completed_at, errors, dagster_run_id
    )
    values (
        %(tenant)s, 'pipedrive', 'full', 'manual', 'partial', now(),
        jsonb_build_array(jsonb_build_object('code', 'x', 'message', %(word)s::text)), %(word)s
    )
    returning id, started_at
),
entity as (
    insert into integration.run_entities (
        tenant_id, run_id, system, entity, started_at, status, reason, fetched, watermark_after,
        missing, checked_at
    )
    select
        %(tenant)s, log.id, 'pipedrive', 'organizations', log.started_at, 'complete', %(word)s, 7,
        '2026-11-01T00:00:00+00:00', 0, '2026-11-01'
    from log
),
mart as (
    insert into integration.run_marts (tenant_id, run_id, system, mart, entity)
    select %(tenant)s, log.id, 'pipedrive', 'customers', 'organizations'
    from log
)
insert into integration.sync_requests (
    tenant_id, system, sync_type, trigger, state, requested_by, run_id, settled_at
)
select %(tenant)s, 'pipedrive', 'full', 'manual', 'done', %(word)s, log.id, now()
from log;
insert into integration.sync_requests (tenant_id, system, sync_type, trigger, requested_by)
values (%(tenant)s, 'pipedrive', 'sweep', 'manual', %(word)s);
insert into integration.fields (
    tenant_id, system, entity, field_key, field_name, field_type, is_custom
)
values (%(tenant)s, 'pipedrive', 'organizations', 'aaa', %(word)s, 'varchar', true);
insert into integration.field_mappings (
    tenant_id, system, version, mapping, is_active, created_by
)
values (
    %(tenant)s, 'pipedrive', 1,
    jsonb_build_object('organizations', jsonb_build_object('aaa', 'attributes.' || %(word)s)),
    true, %(word)s
);
insert into integration.sync_settings (tenant_id, system, time_zone, every_hours, updated_by)
values (%(tenant)s, 'pipedrive', 'Europe/Berlin', 5, %(word)s);
insert into crm.customers (tenant_id, system, remote_id, name)
values (%(tenant)s, 'pipedrive', '1', %(word)s);
"""


@dataclass(frozen=True)
class FilledTenant:
    """One tenant: its word, its keys by role, and an id of each kind."""

    tenant: Tenant
    word: str
    keys: dict[Role, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)


def filled_tenant(site: ConnectSite, slug: str, company: int) -> FilledTenant:
    """A tenant with keys of every role and something in every table."""
    tenant, word = Tenant(slug), f"word_of_{slug}"
    access, refresh = site.world.oauth.granted(OAuthCompany(id=company))
    site.world.store(tenant, access, refresh, OAuthCompany(id=company))
    site.world.execute(
        "update integration.sync_requests set state = 'done', settled_at = now()"
        " where tenant_id = %s",
        slug,
    )
    with site.world.vault.warehouse.transaction() as connection:
        for statement in FILL.replace("{{", "{").replace("}}", "}").split(";\n"):
            if statement.strip():
                connection.execute(statement.encode(), {"tenant": slug, "word": word})
    filled = FilledTenant(tenant, word)
    with site.world.vault.warehouse.as_app(tenant) as connection:
        for role in Role:
            filled.keys[role] = keys.add(connection, tenant, role, word, who="a test").text
        spare = keys.add(connection, tenant, Role.USER, word, who="a test")
    link = links.make(site.world.vault, Scope(tenant, "pipedrive"), who=word)
    filled.ids["key_id"] = str(spare.key.id)
    filled.ids["link_id"] = str(link.id)
    filled.ids["run_id"] = one_id(site, "runs", slug)
    filled.ids["request_id"] = one_id(site, "sync_requests", slug)
    filled.ids["number"] = "1"
    filled.ids["sink"] = "companies"
    filled.ids["entity"] = "organizations"
    filled.ids["token"] = "a-token-that-no-webhook-has"
    return filled


def one_id(site: ConnectSite, table: str, slug: str) -> str:
    """An id of one of the tenant's rows."""
    rows = site.world.rows(f"select id from integration.{table} where tenant_id = %s limit 1", slug)
    return str(rows[0]["id"])


def client_with(site: ConnectSite, key: str, **headers: str) -> httpx.Client:
    """A script with a tenant's key."""
    return site.client({"x-api-key": key, **headers})
