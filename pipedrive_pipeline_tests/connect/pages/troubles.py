"""One problem of each kind, as the engine stores its cause."""

from __future__ import annotations

from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.tenants import FilledTenant, filled_tenant

EVIL = "<svg onload=alert(1)>{{7*7}}"
ARABIC = "مؤسسة النخلة"
READ = """
with run as (
    insert into integration.runs (tenant_id, system, sync_type, trigger, status, completed_at)
    values (%(tenant)s, 'pipedrive', 'incremental', 'schedule', 'partial', now())
    returning id, started_at
)
insert into integration.run_entities (
    tenant_id, run_id, system, entity, started_at, status, code
)
select %(tenant)s, run.id, 'pipedrive', %(entity)s, run.started_at, %(status)s, %(code)s
from run
"""


def read(site: ConnectSite, tenant: str, entity: str, *, code: str | None = None) -> None:
    """A run that read one entity, or was refused."""
    values = {"tenant": tenant, "entity": entity, "code": code}
    with site.world.vault.warehouse.transaction() as connection:
        connection.execute(READ, {**values, "status": "skipped" if code else "complete"})


def hold_deletions(site: ConnectSite, tenant: str) -> None:
    """Deletions that a run did not believe."""
    site.world.execute(
        "insert into integration.held_deletions (tenant_id, system, entity, known, gone, sample)"
        " values (%s, 'pipedrive', 'persons', 733, 214, '{1,2,3}')",
        tenant,
    )


def reject_values(site: ConnectSite, tenant: str, count: int) -> None:
    """Values that do not fit their column."""
    site.world.execute(
        "insert into integration.rejected_values"
        " (tenant_id, system, entity, record_id, field, value, reason)"
        " select %s, 'pipedrive', 'organizations', n::text, 'aaa', '12,5 Mio', 'is no number'"
        " from generate_series(1, %s) as n",
        tenant,
        count,
    )


def troubled_tenant(site: ConnectSite, slug: str = "acme") -> FilledTenant:
    """A connected tenant with every problem that leaves it connected."""
    tenant = filled_tenant(site, slug, 1)
    site.world.execute("update integration.sync_settings set entities_off = '{}'")
    hold_deletions(site, slug)
    read(site, slug, "notes", code="scope_missing")
    reject_values(site, slug, 38)
    site.world.execute(
        "insert into integration.outbox"
        " (tenant_id, system, mart, verb, request_hash, requested_by, state)"
        " values (%s, 'pipedrive', 'deals', 'update', 'x', 'an app', 'conflict')",
        slug,
    )
    site.world.execute(
        "insert into integration.webhooks (tenant_id, system, state, reason, app_url)"
        " values (%s, 'pipedrive', 'failing', 'deliveries fail', 'https://x.example')",
        slug,
    )
    site.world.execute(
        "insert into integration.app_webhooks (id, tenant_id, url, event_types, state,"
        " state_reason, failed_system, disabled_at, secret, created_by)"
        " values (gen_random_uuid(), %s,"
        " 'https://app.example.com/x', '{*}', 'disabled', 'gone', 'pipedrive', now(), 'x', 'x')",
        slug,
    )
    site.world.execute(
        "update integration.fields set removed_at = now(), field_name = %s where tenant_id = %s",
        EVIL,
        slug,
    )
    site.world.execute(
        "insert into integration.alerts (tenant_id, system, code, sync_type, message)"
        " values (%s, 'pipedrive', 'disk_full', 'incremental', 'full')",
        slug,
    )
    return tenant


def revoked_tenant(site: ConnectSite, slug: str = "bravo") -> FilledTenant:
    """A tenant whose consent was withdrawn."""
    tenant = filled_tenant(site, slug, 2)
    site.world.execute(
        "update integration.connections set state = 'needs_reauth',"
        " state_reason = 'invalid_grant', company_name = %s where tenant_id = %s",
        ARABIC,
        slug,
    )
    return tenant
