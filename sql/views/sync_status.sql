-- How fresh and how complete the synced rows are.
-- Grain: one row per entity of the source.
-- Reads: crm.customers, crm.contacts, integration.sync_logs.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in customers.sql, the tenant's slug replaces the setting; the view is a security barrier.
create or replace view sync_status
with (security_barrier = true) as
select
    entity.name as entity,
    newest_walk.as_of as as_of,
    entity.rows as rows,
    newest_comparison.missing as missing,
    newest_sweep.swept_at as last_sweep_at,
    now() - newest_sweep.swept_at as last_sweep_age
from (
    select
        'organizations' as name,
        count(*) as rows
    from crm.customers as customers
    where customers.tenant_id = current_setting('pipeline.tenant_id')
        and customers.pipedrive_id is not null
        and customers.deleted_at is null
    union all
    select
        'persons' as name,
        count(*) as rows
    from crm.contacts as contacts
    where contacts.tenant_id = current_setting('pipeline.tenant_id')
        and contacts.pipedrive_id is not null
        and contacts.deleted_at is null
) as entity
left join lateral (
    select (sync_logs.watermarks -> entity.name ->> 'after')::timestamptz as as_of
    from integration.sync_logs
    where sync_logs.tenant_id = current_setting('pipeline.tenant_id')
        and sync_logs.system = 'pipedrive'
        and sync_logs.status in ('success', 'partial')
        and sync_logs.watermarks -> entity.name ->> 'after' is not null
    order by
        sync_logs.started_at desc,
        sync_logs.id desc
    limit 1
) as newest_walk on true
left join lateral (
    select (sync_logs.completeness -> entity.name ->> 'missing')::bigint as missing
    from integration.sync_logs
    where sync_logs.tenant_id = current_setting('pipeline.tenant_id')
        and sync_logs.system = 'pipedrive'
        and sync_logs.completeness -> entity.name ->> 'missing' is not null
    order by
        sync_logs.started_at desc,
        sync_logs.id desc
    limit 1
) as newest_comparison on true
left join lateral (
    select (sync_logs.completeness -> entity.name ->> 'swept_at')::timestamptz as swept_at
    from integration.sync_logs
    where sync_logs.tenant_id = current_setting('pipeline.tenant_id')
        and sync_logs.system = 'pipedrive'
        and sync_logs.status in ('success', 'partial')
        and sync_logs.completeness -> entity.name ->> 'swept_at' is not null
    order by
        swept_at desc
    limit 1
) as newest_sweep on true;

comment on view sync_status is
    'How fresh and how complete the synced rows are, per entity of the source.';
comment on column sync_status.entity is
    'organizations are shown as customers, persons as contacts.';
comment on column sync_status.as_of is
    'Every change up to then is in; empty before the first complete sync.';
comment on column sync_status.rows is
    'Rows that are there; neither deleted ones nor those that the app made.';
comment on column sync_status.missing is
    'Records that the last comparison with the source found missing; empty while there was none.';
comment on column sync_status.last_sweep_at is
    'Deletions and merges up to then are marked: when the last complete look at all records began; '
    'empty while there was none.';
comment on column sync_status.last_sweep_age is
    'How long ago that was; later deletions and merges may not be marked yet.';
