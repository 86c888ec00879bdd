-- Marts compared with raw: the kind of run `verify`, what a comparison found, views that are due.
-- What: sync_type 'verify'; warnings and comparison of a run; the last comparison, the types that
--       values were checked against and the views that wait, of a tenant's marts; the function
--       pipeline.survivors.
-- Reads: crm.customers.
-- Needs: 0003_history.sql, 0004_crm.sql, 0040_values.sql, 0060_alerts.sql.

alter table integration.sync_logs
    drop constraint sync_logs_sync_type_check,
    add constraint sync_logs_sync_type_check check (
        sync_type in ('full', 'incremental', 'sweep', 'remap', 'verify')
    ),
    add column warnings jsonb not null default '[]',
    add column comparison jsonb not null default '{}',
    add constraint sync_logs_warnings_check check (jsonb_typeof(warnings) = 'array'),
    add constraint sync_logs_comparison_check check (jsonb_typeof(comparison) = 'object');
comment on column integration.sync_logs.sync_type is
    'full: everything was read; incremental: what changed; sweep: only ids, to find deletions; '
    'remap: nothing was read, the marts were built again from raw; verify: nothing was read, every '
    'row, link and value of the marts was compared with raw.';
comment on column integration.sync_logs.warnings is
    'What did not keep the run from succeeding and still needs attention: '
    '[{"code": "…", "message": "…"}]; no tokens, no personal data.';
comment on column integration.sync_logs.comparison is
    'Per mart, rows compared with raw apart from what the run itself changed: {"customers": '
    '{"missing": 0, "differing": 0, "links": 0, "extra": 0, "unhealed": 0}}; verify also has '
    '"values": {"seen": 0, "lost": 0}. Empty where the run compared only what it touched.';

alter table integration.sync_requests
    drop constraint sync_requests_sync_type_check,
    add constraint sync_requests_sync_type_check check (
        sync_type in ('full', 'incremental', 'sweep', 'remap', 'verify')
    );

alter table integration.alerts
    drop constraint alerts_sync_type_check,
    add constraint alerts_sync_type_check check (
        sync_type in ('full', 'incremental', 'sweep', 'remap', 'verify')
    );

alter table integration.mart_state
    drop column is_proof_due,
    add column compared_at timestamptz,
    add column comparison jsonb not null default '{}',
    add column views_due_at timestamptz,
    add constraint mart_state_comparison_check check (jsonb_typeof(comparison) = 'object');
comment on column integration.mart_state.values_checked is
    'Types of the custom fields that the values in raw were last checked against, as JSON.';
comment on column integration.mart_state.unproven_loads is
    'Loads whose values were not yet compared with what views and marts show of them.';
comment on column integration.mart_state.compared_at is
    'When all rows of the marts were last compared with raw: by a sweep, a full read, remap or '
    'verify.';
comment on column integration.mart_state.comparison is
    'What that comparison found, as in sync_logs.comparison.';
comment on column integration.mart_state.views_due_at is
    'Since when the views wait for a session that reads them; empty where they are up to date.';

-- Follows a chain of merges to the last customer that is known. Plain SQL without settings of its
-- own, so that Postgres plans it as a part of the query that calls it.
create function pipeline.survivors(of_tenant text)
returns table (lost_id bigint, kept_id bigint)
language sql stable parallel safe rows 10
as $$
    with recursive merged as (
        select
            lost.pipedrive_id as lost_id,
            kept.pipedrive_id as kept_id,
            kept.merged_into as next_id,
            1 as step
        from crm.customers as lost
        inner join crm.customers as kept
            on kept.tenant_id = lost.tenant_id
            and kept.pipedrive_id = lost.merged_into
        where lost.tenant_id = of_tenant
            and lost.deleted_at is not null
            and lost.merged_into is not null
        union all
        select
            merged.lost_id as lost_id,
            kept.pipedrive_id as kept_id,
            kept.merged_into as next_id,
            merged.step + 1 as step
        from merged
        inner join crm.customers as kept
            on kept.tenant_id = of_tenant
            and kept.pipedrive_id = merged.next_id
        where merged.step < 20 -- a ring of merges must end
    )
    select distinct on (merged.lost_id)
        merged.lost_id as lost_id,
        merged.kept_id as kept_id
    from merged
    order by
        merged.lost_id asc,
        merged.step desc
$$;
comment on function pipeline.survivors(text) is
    'Merged customers of a tenant and the customer that is left of each: pipedrive_id of both. A '
    'survivor that is not known yet is left out.';
