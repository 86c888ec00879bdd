-- Whose views these are, and in which time zone their days are.
-- Grain: one row.
-- Reads: integration.tenants.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting; the view is a security barrier.
create or replace view tenant
with (security_barrier = true) as
select
    tenants.slug as tenant_id,
    coalesce(nullif(tenants.display_name, ''), tenants.slug) as name,
    tenants.time_zone as time_zone
from integration.tenants
where tenants.slug = current_setting('pipeline.tenant_id');

comment on view tenant is
    'Whose views these are, and in which time zone their days and months are.';
comment on column tenant.tenant_id is
    'The tenant.';
comment on column tenant.name is
    'Name for people.';
comment on column tenant.time_zone is
    'Time zone in which days and months begin, where a view does not say otherwise.';
