-- What was requested, what happened, what it cost.
-- What: runs with their entities and marts, requests, what marts still have to read, rejected values,
--       erased records, calls and tokens, alerts, signals; the views sync_logs and entity_status.
-- Reads: nothing.
-- Needs: 0003_tenants.sql, 0004_crm.sql.

create table integration.runs (
    id uuid not null default gen_random_uuid(),
    connection_id uuid,
    tenant_id text not null,
    system text not null,
    sync_type text not null,
    trigger text not null,
    started_at timestamptz not null default now(),
    completed_at timestamptz,
    status text not null default 'running',
    tokens_spent bigint not null default 0,
    api_calls bigint not null default 0,
    values_seen bigint,
    values_lost bigint,
    progress jsonb,
    resume_at timestamptz,
    errors jsonb not null default '[]',
    warnings jsonb not null default '[]',
    dagster_run_id text,
    cancel_asked_at timestamptz,
    cancel_asked_by text,
    constraint runs_pkey primary key (id),
    constraint runs_tenant_id_id_key unique (tenant_id, id),
    constraint runs_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint runs_connection_id_fkey foreign key (tenant_id, connection_id)
        references integration.connections (tenant_id, id) on delete set null (connection_id),
    constraint runs_sync_type_check check (
        sync_type in ('full', 'incremental', 'sweep', 'remap', 'verify')
    ),
    constraint runs_trigger_check check (
        trigger in ('schedule', 'manual', 'backfill', 'connect', 'webhook')
    ),
    constraint runs_status_check check (
        status in ('running', 'success', 'partial', 'failed', 'paused', 'cancelled')
    ),
    constraint runs_completed_at_check check ((status = 'running') = (completed_at is null)),
    constraint runs_errors_check check (jsonb_typeof(errors) = 'array'),
    constraint runs_warnings_check check (jsonb_typeof(warnings) = 'array')
);
create index runs_tenant_id_started_at_idx
    on integration.runs (tenant_id, system, started_at desc, id desc);
create index runs_connection_id_idx on integration.runs (tenant_id, connection_id);
create index runs_running_idx on integration.runs (tenant_id) where status = 'running';
comment on table integration.runs is
    'One row per run of one tenant and system: what it cost, and how it ended.';
comment on column integration.runs.id is
    'Id of the run.';
comment on column integration.runs.connection_id is
    'The connection that was used; empty where there was none.';
comment on column integration.runs.tenant_id is
    'The tenant.';
comment on column integration.runs.system is
    'Key of the CRM.';
comment on column integration.runs.sync_type is
    'full: everything was read; incremental: what changed; sweep: only ids, to find deletions; '
    'remap: nothing was read, the marts were built again from raw; verify: nothing was read, every '
    'row, link and value of the marts was compared with raw.';
comment on column integration.runs.trigger is
    'What started it: schedule, manual, backfill, connect or webhook.';
comment on column integration.runs.started_at is
    'When it began.';
comment on column integration.runs.completed_at is
    'When it ended; empty while it runs.';
comment on column integration.runs.status is
    'running; success; partial: one entity is complete and committed, another is not; failed; '
    'paused: today''s request budget is used up, it goes on at resume_at; cancelled: a person ended '
    'it, what was committed stays.';
comment on column integration.runs.tokens_spent is
    'Request tokens of the day''s budget that the run used.';
comment on column integration.runs.api_calls is
    'HTTP calls that the run made.';
comment on column integration.runs.values_seen is
    'Values of custom fields that verify compared with raw; empty for other runs.';
comment on column integration.runs.values_lost is
    'Of those, how many neither a view nor a column shows; empty for other runs.';
comment on column integration.runs.progress is
    'While it runs: phase (reading, building), stage (entity that is read), pages, rows, seconds, '
    'entities (rows read so far, and whether it ended, by name), expected (rows, by name), tokens.';
comment on column integration.runs.resume_at is
    'When a paused run goes on.';
comment on column integration.runs.errors is
    'What went wrong, in order: [{"code": "…", "message": "…"}]; no tokens, no personal data.';
comment on column integration.runs.warnings is
    'What did not keep the run from succeeding and still needs attention: '
    '[{"code": "…", "message": "…"}]; no tokens, no personal data.';
comment on column integration.runs.dagster_run_id is
    'The Dagster run; it shows the whole log.';
comment on column integration.runs.cancel_asked_at is
    'When a person asked to end it; it ends at its next page or before its next table.';
comment on column integration.runs.cancel_asked_by is
    'Who asked to end it.';
select integration.isolate(
    'integration.runs', 'select, update (cancel_asked_at, cancel_asked_by)'
);

create table integration.run_entities (
    tenant_id text not null,
    run_id uuid not null,
    system text not null,
    entity text not null,
    started_at timestamptz not null,
    status text,
    code text,
    reason text,
    fetched bigint not null default 0,
    rejected bigint not null default 0,
    erased bigint not null default 0,
    watermark_before text,
    watermark_after text,
    missing bigint,
    extra bigint,
    stale bigint,
    checked_at timestamptz,
    swept_at timestamptz,
    constraint run_entities_pkey primary key (run_id, entity),
    constraint run_entities_run_id_fkey foreign key (tenant_id, run_id)
        references integration.runs (tenant_id, id) on delete cascade,
    constraint run_entities_status_check check (
        status in ('complete', 'partial', 'failed', 'skipped', 'paused')
    )
);
create index run_entities_entity_idx
    on integration.run_entities (tenant_id, system, entity, started_at desc, run_id desc);
-- Few rows: what was refused, for the list of what needs a person.
create index run_entities_refused_idx
    on integration.run_entities (tenant_id, system, entity, started_at desc)
    where code in ('scope_missing', 'source_refused');
create index run_entities_compared_idx
    on integration.run_entities (tenant_id, system, entity, started_at desc, run_id desc)
    where missing is not null;
create index run_entities_swept_at_idx
    on integration.run_entities (tenant_id, system, entity, swept_at desc)
    where swept_at is not null;
comment on table integration.run_entities is
    'One row per run and entity of the source: what was read of it, and how that ended.';
comment on column integration.run_entities.tenant_id is
    'The tenant.';
comment on column integration.run_entities.run_id is
    'The run.';
comment on column integration.run_entities.system is
    'Key of the CRM, as in runs.system.';
comment on column integration.run_entities.entity is
    'Name of the entity.';
comment on column integration.run_entities.started_at is
    'When the run began, as in runs.started_at.';
comment on column integration.run_entities.status is
    'complete: read whole and committed; partial: its read ended early, with rows; failed: without '
    'rows; skipped: this tenant''s plan or rights do not include it; paused: the day''s budget is '
    'used up. Empty: the run did not read it and only erased old records.';
comment on column integration.run_entities.code is
    'Why it is not complete, as a stable code, as in runs.errors.';
comment on column integration.run_entities.reason is
    'Why it is not complete, in a sentence; no tokens, no personal data.';
comment on column integration.run_entities.fetched is
    'Records that the source sent.';
comment on column integration.run_entities.rejected is
    'Records without a usable id, and values that did not fit their column; see rejected_values.';
comment on column integration.run_entities.erased is
    'Records that were erased, since they are deleted at the source for as long as '
    'sync_settings.erase_deleted_after_days says.';
comment on column integration.run_entities.watermark_before is
    'Up to when changes had been read before; a text of the source where it is no instant.';
comment on column integration.run_entities.watermark_after is
    'Up to when changes were read; set only if the read is complete and committed, and never by '
    'a read of everything that found nothing.';
comment on column integration.run_entities.missing is
    'Records of the source that raw lacked after a read of everything; empty if not compared.';
comment on column integration.run_entities.extra is
    'Records of raw that the source no longer listed and that are not gone.';
comment on column integration.run_entities.stale is
    'Records that raw had in another version than the source.';
comment on column integration.run_entities.checked_at is
    'When raw was compared with the source.';
comment on column integration.run_entities.swept_at is
    'Deletions up to then are marked; empty where the comparison was not believed.';
select integration.isolate('integration.run_entities');

create table integration.run_marts (
    tenant_id text not null,
    run_id uuid not null,
    system text not null,
    mart text not null,
    entity text,
    created bigint not null default 0,
    updated bigint not null default 0,
    unchanged bigint not null default 0,
    deleted bigint not null default 0,
    comparison jsonb,
    constraint run_marts_pkey primary key (run_id, mart),
    constraint run_marts_run_id_fkey foreign key (tenant_id, run_id)
        references integration.runs (tenant_id, id) on delete cascade,
    constraint run_marts_comparison_check check (jsonb_typeof(comparison) = 'object')
);
create index run_marts_entity_idx on integration.run_marts (tenant_id, system, entity, mart);
comment on table integration.run_marts is
    'One row per run and mart that it built: which rows were written.';
comment on column integration.run_marts.tenant_id is
    'The tenant.';
comment on column integration.run_marts.run_id is
    'The run.';
comment on column integration.run_marts.system is
    'Key of the CRM, as in runs.system.';
comment on column integration.run_marts.mart is
    'Name of the table in crm.';
comment on column integration.run_marts.entity is
    'Entity of the source whose records are its rows; empty where the system has none.';
comment on column integration.run_marts.created is
    'Rows that were made.';
comment on column integration.run_marts.updated is
    'Rows that were changed.';
comment on column integration.run_marts.unchanged is
    'Records that were read and equal their rows.';
comment on column integration.run_marts.deleted is
    'Rows that were newly marked as deleted.';
comment on column integration.run_marts.comparison is
    'Rows compared with raw apart from what the run itself changed: {"missing": 0, "differing": 0, '
    '"links": 0, "extra": 0, "unhealed": 0}; empty where the run compared only what it touched.';
select integration.isolate('integration.run_marts');

create view integration.sync_logs
with (security_invoker = true) as
select
    runs.id,
    runs.connection_id,
    runs.tenant_id,
    runs.system,
    runs.sync_type,
    runs.trigger,
    runs.started_at,
    runs.completed_at,
    runs.status,
    coalesce((entities.counts -> 'organizations' ->> 'fetched')::bigint, 0) as organizations_fetched,
    coalesce((marts.counts -> 'customers' ->> 'created')::bigint, 0) as organizations_created,
    coalesce((marts.counts -> 'customers' ->> 'updated')::bigint, 0) as organizations_updated,
    coalesce((marts.counts -> 'customers' ->> 'unchanged')::bigint, 0) as organizations_unchanged,
    coalesce((marts.counts -> 'customers' ->> 'deleted')::bigint, 0) as organizations_deleted,
    coalesce((entities.counts -> 'organizations' ->> 'rejected')::bigint, 0) as organizations_rejected,
    coalesce((entities.counts -> 'persons' ->> 'fetched')::bigint, 0) as persons_fetched,
    coalesce((marts.counts -> 'contacts' ->> 'created')::bigint, 0) as persons_created,
    coalesce((marts.counts -> 'contacts' ->> 'updated')::bigint, 0) as persons_updated,
    coalesce((marts.counts -> 'contacts' ->> 'unchanged')::bigint, 0) as persons_unchanged,
    coalesce((marts.counts -> 'contacts' ->> 'deleted')::bigint, 0) as persons_deleted,
    coalesce((entities.counts -> 'persons' ->> 'rejected')::bigint, 0) as persons_rejected,
    runs.tokens_spent,
    runs.api_calls,
    coalesce(entities.watermarks, '{}') as watermarks,
    coalesce(entities.completeness, '{}') as completeness,
    runs.progress,
    runs.resume_at,
    runs.errors,
    runs.dagster_run_id,
    coalesce((entities.counts -> 'organizations' ->> 'erased')::bigint, 0) as organizations_erased,
    coalesce((entities.counts -> 'persons' ->> 'erased')::bigint, 0) as persons_erased,
    runs.warnings,
    coalesce(marts.comparison, '{}') || case
        when runs.values_seen is null then '{}'
        else jsonb_build_object(
            'values',
            jsonb_build_object('seen', runs.values_seen, 'lost', runs.values_lost)
        )
    end as comparison
from integration.runs
left join lateral (
    select
        jsonb_object_agg(run_entities.entity, to_jsonb(run_entities)) as counts,
        jsonb_object_agg(
            run_entities.entity,
            jsonb_build_object(
                'before', run_entities.watermark_before,
                'after', run_entities.watermark_after
            )
        ) filter (where run_entities.status is not null) as watermarks,
        jsonb_object_agg(
            run_entities.entity,
            jsonb_build_object(
                'missing', run_entities.missing,
                'extra', run_entities.extra,
                'stale', run_entities.stale,
                'checked_at', run_entities.checked_at,
                'swept_at', run_entities.swept_at
            )
        ) filter (where run_entities.missing is not null) as completeness
    from integration.run_entities
    where run_entities.run_id = runs.id
        and run_entities.tenant_id = runs.tenant_id
) as entities on true
left join lateral (
    select
        jsonb_object_agg(run_marts.mart, to_jsonb(run_marts)) as counts,
        jsonb_object_agg(run_marts.mart, run_marts.comparison)
            filter (where run_marts.comparison is not null) as comparison
    from integration.run_marts
    where run_marts.run_id = runs.id
        and run_marts.tenant_id = runs.tenant_id
) as marts on true;
comment on view integration.sync_logs is
    'The runs with the counts of organizations and persons as columns; every value is computed from '
    'runs, run_entities and run_marts.';
comment on column integration.sync_logs.id is
    'Id of the run.';
comment on column integration.sync_logs.connection_id is
    'The connection that was used; empty where there was none.';
comment on column integration.sync_logs.tenant_id is
    'The tenant.';
comment on column integration.sync_logs.system is
    'Key of the CRM.';
comment on column integration.sync_logs.sync_type is
    'full: everything was read; incremental: what changed; sweep: only ids, to find deletions; '
    'remap: nothing was read, the marts were built again from raw; verify: nothing was read, every '
    'row, link and value of the marts was compared with raw.';
comment on column integration.sync_logs.trigger is
    'What started it: schedule, manual, backfill, connect or webhook.';
comment on column integration.sync_logs.started_at is
    'When it began.';
comment on column integration.sync_logs.completed_at is
    'When it ended; empty while it runs.';
comment on column integration.sync_logs.status is
    'running; success; partial: one entity is complete and committed, another is not; failed; '
    'paused: today''s request budget is used up, it goes on at resume_at.';
comment on column integration.sync_logs.organizations_fetched is
    'Organizations that the source sent.';
comment on column integration.sync_logs.organizations_created is
    'Rows of crm.customers that were made.';
comment on column integration.sync_logs.organizations_updated is
    'Rows of crm.customers that were changed.';
comment on column integration.sync_logs.organizations_unchanged is
    'Organizations that were read and were as they are in crm.customers.';
comment on column integration.sync_logs.organizations_deleted is
    'Rows of crm.customers that were newly marked as deleted.';
comment on column integration.sync_logs.organizations_rejected is
    'Organizations without a usable id, and values of organizations that did not fit their column; '
    'see rejected_values.';
comment on column integration.sync_logs.persons_fetched is
    'Persons that the source sent.';
comment on column integration.sync_logs.persons_created is
    'Rows of crm.contacts that were made.';
comment on column integration.sync_logs.persons_updated is
    'Rows of crm.contacts that were changed.';
comment on column integration.sync_logs.persons_unchanged is
    'Persons that were read and were as they are in crm.contacts.';
comment on column integration.sync_logs.persons_deleted is
    'Rows of crm.contacts that were newly marked as deleted.';
comment on column integration.sync_logs.persons_rejected is
    'Persons without a usable id, and values of persons that did not fit their column; see '
    'rejected_values.';
comment on column integration.sync_logs.tokens_spent is
    'Request tokens of the day''s budget that the run used.';
comment on column integration.sync_logs.api_calls is
    'HTTP calls that the run made.';
comment on column integration.sync_logs.watermarks is
    'Per entity, up to when its changes were read: {"persons": {"before": "…", "after": "…"}}; '
    'after is set only if the entity''s walk was complete and committed, and never by a read of '
    'everything that found nothing.';
comment on column integration.sync_logs.completeness is
    'Per entity, raw compared with the source: {"persons": {"missing": 0, "extra": 0, "stale": 0, '
    '"checked_at": "…", "swept_at": "…"}}; deletions up to swept_at are marked, it is null where '
    'the comparison was not believed; an entity that was not compared is absent.';
comment on column integration.sync_logs.progress is
    'Stage, pages, rows and rate while it runs.';
comment on column integration.sync_logs.resume_at is
    'When a paused run goes on.';
comment on column integration.sync_logs.errors is
    'What went wrong, in order: [{"code": "…", "message": "…"}]; no tokens, no personal data.';
comment on column integration.sync_logs.dagster_run_id is
    'The Dagster run; it shows the whole log.';
comment on column integration.sync_logs.organizations_erased is
    'Organizations that were erased, since they are deleted at the source for as long as '
    'sync_settings.erase_deleted_after_days says.';
comment on column integration.sync_logs.persons_erased is
    'Persons that were erased, since they are deleted at the source for as long as '
    'sync_settings.erase_deleted_after_days says.';
comment on column integration.sync_logs.warnings is
    'What did not keep the run from succeeding and still needs attention: '
    '[{"code": "…", "message": "…"}]; no tokens, no personal data.';
comment on column integration.sync_logs.comparison is
    'Per mart, rows compared with raw apart from what the run itself changed: {"customers": '
    '{"missing": 0, "differing": 0, "links": 0, "extra": 0, "unhealed": 0}}; verify also has '
    '"values": {"seen": 0, "lost": 0}. Empty where the run compared only what it touched.';
select integration.isolate('integration.sync_logs');

create table integration.sync_requests (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text not null,
    sync_type text not null,
    trigger text not null,
    state text not null default 'queued',
    requested_by text,
    requested_at timestamptz not null default now(),
    run_id uuid,
    dagster_run_id text,
    settled_at timestamptz,
    constraint sync_requests_pkey primary key (id),
    constraint sync_requests_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint sync_requests_run_id_fkey foreign key (tenant_id, run_id)
        references integration.runs (tenant_id, id) on delete set null (run_id),
    constraint sync_requests_sync_type_check check (
        sync_type in ('full', 'incremental', 'sweep', 'remap', 'verify')
    ),
    constraint sync_requests_trigger_check check (
        trigger in ('schedule', 'manual', 'backfill', 'connect', 'webhook')
    ),
    constraint sync_requests_state_check check (
        state in ('queued', 'running', 'done', 'failed', 'cancelled')
    ),
    constraint sync_requests_settled_at_check check (
        (state in ('done', 'failed', 'cancelled')) = (settled_at is not null)
    )
);
create unique index sync_requests_queued_key
    on integration.sync_requests (tenant_id, system, sync_type)
    where state = 'queued';
create index sync_requests_open_idx
    on integration.sync_requests (requested_at, id)
    where state in ('queued', 'running');
create index sync_requests_tenant_id_requested_at_idx
    on integration.sync_requests (tenant_id, system, requested_at desc, id desc);
create index sync_requests_run_id_idx on integration.sync_requests (tenant_id, run_id);
comment on table integration.sync_requests is
    'Syncs that were asked for; a Dagster sensor starts them. One of a kind waits at a time.';
comment on column integration.sync_requests.id is
    'Id of the request.';
comment on column integration.sync_requests.tenant_id is
    'The tenant.';
comment on column integration.sync_requests.system is
    'Key of the CRM.';
comment on column integration.sync_requests.sync_type is
    'What is asked for, as in runs.sync_type.';
comment on column integration.sync_requests.trigger is
    'What asks, as in runs.trigger.';
comment on column integration.sync_requests.state is
    'queued: waits for a run; running; done; failed; cancelled: a person ended it.';
comment on column integration.sync_requests.requested_by is
    'Who asks.';
comment on column integration.sync_requests.requested_at is
    'When it was asked.';
comment on column integration.sync_requests.run_id is
    'The run that served it.';
comment on column integration.sync_requests.dagster_run_id is
    'The Dagster run that served it.';
comment on column integration.sync_requests.settled_at is
    'When it was done or failed.';
select integration.isolate(
    'integration.sync_requests', 'select, insert, update (state, settled_at)'
);

create table integration.mart_state (
    tenant_id text not null,
    system text not null,
    pending_loads text[] not null default '{}',
    is_rebuild_due boolean not null default true,
    built_at timestamptz,
    built_from text,
    views_published text,
    values_checked text,
    values_seen bigint,
    values_kept bigint,
    values_rejected bigint,
    unproven_loads text[] not null default '{}',
    compared_at timestamptz,
    comparison jsonb not null default '{}',
    views_due_at timestamptz,
    constraint mart_state_pkey primary key (tenant_id, system),
    constraint mart_state_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint mart_state_comparison_check check (jsonb_typeof(comparison) = 'object')
);
comment on table integration.mart_state is
    'What the marts of a tenant still have to read; written in the transaction that builds them.';
comment on column integration.mart_state.tenant_id is
    'The tenant.';
comment on column integration.mart_state.system is
    'Key of the CRM.';
comment on column integration.mart_state.pending_loads is
    'Ids of loads whose raw rows the marts have not read; an id is put here before its load.';
comment on column integration.mart_state.is_rebuild_due is
    'Whether the next build reads all of raw instead of the pending loads.';
comment on column integration.mart_state.built_at is
    'When the marts were last built, also when nothing had changed.';
comment on column integration.mart_state.built_from is
    'Fingerprint of what the marts were built with: their SQL, mapping, and the names of users, '
    'labels and industries; another one makes the next build read all of raw.';
comment on column integration.mart_state.views_published is
    'Fingerprint of the definitions of the analytics views as last published.';
comment on column integration.mart_state.values_checked is
    'Types of the custom fields that the values in raw were last checked against, as JSON.';
comment on column integration.mart_state.values_seen is
    'Values of custom fields that the last build looked at: those that are not null in raw.';
comment on column integration.mart_state.values_kept is
    'Of those, how many fit their type.';
comment on column integration.mart_state.values_rejected is
    'Of those, how many went to rejected_values.';
comment on column integration.mart_state.unproven_loads is
    'Loads whose values were not yet compared with what views and marts show of them.';
comment on column integration.mart_state.compared_at is
    'When all rows of the marts were last compared with raw: by a sweep, a full read, remap or '
    'verify.';
comment on column integration.mart_state.comparison is
    'What that comparison found, as in run_marts.comparison, by mart.';
comment on column integration.mart_state.views_due_at is
    'Since when the views wait for a session that reads them; empty where they are up to date.';
select integration.isolate('integration.mart_state');

create table integration.rejected_values (
    id bigint generated always as identity,
    tenant_id text not null,
    system text not null,
    entity text not null,
    record_id text,
    field text,
    value text,
    reason text not null,
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    target text,
    fingerprint text,
    is_confirmed boolean not null default true,
    constraint rejected_values_pkey primary key (id),
    constraint rejected_values_tenant_id_system_entity_record_id_field_key
        unique (tenant_id, system, entity, record_id, field),
    constraint rejected_values_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint rejected_values_fingerprint_check
        check ((record_id is null) = (fingerprint is not null))
);
create unique index rejected_values_fingerprint_idx
    on integration.rejected_values (tenant_id, system, entity, fingerprint)
    where record_id is null;
comment on table integration.rejected_values is
    'Values of the source that a column could not hold as they were, and records without a usable '
    'id, of which raw has no row. May hold personal data.';
comment on column integration.rejected_values.id is
    'Number of the row.';
comment on column integration.rejected_values.tenant_id is
    'The tenant.';
comment on column integration.rejected_values.system is
    'Key of the CRM.';
comment on column integration.rejected_values.entity is
    'Entity of the record.';
comment on column integration.rejected_values.record_id is
    'Id of the record; empty where that is what could not be used.';
comment on column integration.rejected_values.field is
    'Key of the field; empty where the whole record could not be used.';
comment on column integration.rejected_values.value is
    'The value as sent, made printable and shortened.';
comment on column integration.rejected_values.reason is
    'Why it was not kept as it was.';
comment on column integration.rejected_values.first_seen_at is
    'When it was first sent.';
comment on column integration.rejected_values.last_seen_at is
    'When it was last sent.';
comment on column integration.rejected_values.target is
    'Column or attribute that a mapping could not fill with it; empty where the value does not fit '
    'raw or its own field''s type.';
comment on column integration.rejected_values.fingerprint is
    'Of a record without a usable id: hash of its text, and the how manyth with that text it was '
    'in the read; empty otherwise.';
comment on column integration.rejected_values.is_confirmed is
    'False for a record without a usable id that a read of everything, begun since, has not sent '
    'yet; it is deleted if that read ends without it.';
select integration.isolate('integration.rejected_values');

create table integration.held_deletions (
    tenant_id text not null,
    system text not null,
    entity text not null,
    run_id uuid,
    found_at timestamptz not null default now(),
    known bigint not null,
    gone bigint not null,
    sample text[] not null,
    decision text,
    decided_at timestamptz,
    decided_by text,
    constraint held_deletions_pkey primary key (tenant_id, system, entity),
    constraint held_deletions_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint held_deletions_run_id_fkey foreign key (tenant_id, run_id)
        references integration.runs (tenant_id, id) on delete set null (run_id),
    constraint held_deletions_decision_check check (decision in ('confirmed', 'refused')),
    constraint held_deletions_decided_at_check check ((decision is null) = (decided_at is null))
);
create index held_deletions_run_id_idx on integration.held_deletions (tenant_id, run_id);
comment on table integration.held_deletions is
    'Deletions that a run did not believe, since they are too many: one row per entity, until a '
    'person has decided and a later read of everything has compared it again.';
comment on column integration.held_deletions.tenant_id is
    'The tenant.';
comment on column integration.held_deletions.system is
    'Key of the CRM.';
comment on column integration.held_deletions.entity is
    'Entity of the records.';
comment on column integration.held_deletions.run_id is
    'The run that found it; empty once that run has left the history.';
comment on column integration.held_deletions.found_at is
    'When it was found.';
comment on column integration.held_deletions.known is
    'Records of the entity that were here and not marked as deleted.';
comment on column integration.held_deletions.gone is
    'How many of them the source no longer listed.';
comment on column integration.held_deletions.sample is
    'Ids of up to 100 of those, taken evenly.';
comment on column integration.held_deletions.decision is
    'confirmed: the next sweep marks as many as deleted; refused: they stay, and the next sweep asks '
    'again. Empty: nobody has decided.';
comment on column integration.held_deletions.decided_at is
    'When that was decided.';
comment on column integration.held_deletions.decided_by is
    'Who decided.';
select integration.isolate(
    'integration.held_deletions', 'select, update (decision, decided_at, decided_by)'
);

create table integration.erased_records (
    tenant_id text not null,
    system text not null,
    entity text not null,
    record_id text not null,
    version timestamptz,
    receipt uuid not null,
    erased_at timestamptz not null default now(),
    constraint erased_records_pkey primary key (tenant_id, system, entity, record_id),
    constraint erased_records_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
comment on table integration.erased_records is
    'Records that were erased on request; they are kept out of raw until they are edited at the '
    'source, and then leave this list. Holds no value of them.';
comment on column integration.erased_records.tenant_id is
    'The tenant.';
comment on column integration.erased_records.system is
    'Key of the CRM.';
comment on column integration.erased_records.entity is
    'Entity of the record.';
comment on column integration.erased_records.record_id is
    'Its key in the source; without it nothing could keep the record out.';
comment on column integration.erased_records.version is
    'When the erased version was last edited at the source; only a later one comes back. Empty: '
    'it was not known, and any version that names its time comes back.';
comment on column integration.erased_records.receipt is
    'Number of the erasure, also in audit_log, which does not say whom it concerned.';
comment on column integration.erased_records.erased_at is
    'When it was erased here.';
select integration.isolate('integration.erased_records', '');

create table integration.api_usage (
    tenant_id text not null,
    system text not null,
    company_id text not null,
    used_on date not null,
    call_kind text not null,
    calls bigint not null default 0,
    tokens bigint not null default 0,
    constraint api_usage_pkey primary key (tenant_id, system, company_id, used_on, call_kind),
    constraint api_usage_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint api_usage_calls_check check (calls >= 0),
    constraint api_usage_tokens_check check (tokens >= 0)
);
create index api_usage_company_id_used_on_idx
    on integration.api_usage (system, company_id, used_on);
comment on table integration.api_usage is
    'Calls and request tokens per tenant, company, day and kind of call.';
comment on column integration.api_usage.tenant_id is
    'The tenant on whose behalf the calls were made.';
comment on column integration.api_usage.system is
    'Key of the CRM.';
comment on column integration.api_usage.company_id is
    'The company whose budget paid; '''' while it is not known.';
comment on column integration.api_usage.used_on is
    'The day of the budget, in UTC.';
comment on column integration.api_usage.call_kind is
    'What was called, such as "list persons".';
comment on column integration.api_usage.calls is
    'Finished HTTP calls.';
comment on column integration.api_usage.tokens is
    'Request tokens that they cost.';
select integration.isolate('integration.api_usage');

create table integration.budget_statements (
    tenant_id text not null,
    system text not null,
    company_id text not null,
    daily_limit bigint,
    daily_left bigint not null,
    told_at timestamptz not null,
    tokens_booked bigint not null,
    resets_at timestamptz not null,
    constraint budget_statements_pkey primary key (tenant_id, system),
    constraint budget_statements_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint budget_statements_daily_limit_check check (daily_limit > 0),
    constraint budget_statements_daily_left_check check (daily_left >= 0)
);
create index budget_statements_company_id_idx
    on integration.budget_statements (system, company_id, told_at desc);
comment on table integration.budget_statements is
    'What a tenant''s source last told about the daily request budget of its company, which all '
    'tenants, users and apps of the company share; the newest of a company counts.';
comment on column integration.budget_statements.tenant_id is
    'The tenant whose call was told.';
comment on column integration.budget_statements.system is
    'Key of the CRM.';
comment on column integration.budget_statements.company_id is
    'Id of the company in the system.';
comment on column integration.budget_statements.daily_limit is
    'Request tokens a day, as last told; empty while it was never told.';
comment on column integration.budget_statements.daily_left is
    'Request tokens left, as last told.';
comment on column integration.budget_statements.told_at is
    'When that was.';
comment on column integration.budget_statements.tokens_booked is
    'What api_usage held of the company and that UTC day then; what it holds more is spent since.';
comment on column integration.budget_statements.resets_at is
    'When the budget returns: as told with a refusal, else the next midnight in UTC.';
select integration.isolate('integration.budget_statements');

create table integration.alerts (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text not null,
    code text not null,
    sync_type text not null,
    message text not null,
    dagster_run_id text,
    began_at timestamptz not null default now(),
    sent_at timestamptz,
    healed_at timestamptz,
    constraint alerts_pkey primary key (id),
    constraint alerts_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint alerts_sync_type_check check (
        sync_type in ('full', 'incremental', 'sweep', 'remap', 'verify')
    )
);
create unique index alerts_open_key
    on integration.alerts (tenant_id, system)
    where healed_at is null;
create index alerts_tenant_id_idx on integration.alerts (tenant_id, began_at desc);
comment on table integration.alerts is
    'What persons were told about: one row per cause, and whether it is over. At most one cause of '
    'a tenant and system is open at a time.';
comment on column integration.alerts.id is
    'Id of the alert.';
comment on column integration.alerts.tenant_id is
    'The tenant.';
comment on column integration.alerts.system is
    'Key of the CRM.';
comment on column integration.alerts.code is
    'The cause, as in runs.errors; killed: a run''s process died, and so did its retry''s; '
    'overdue: no run succeeded although one was due.';
comment on column integration.alerts.sync_type is
    'What kind of run found it, as in runs.sync_type.';
comment on column integration.alerts.message is
    'What was said: what failed, and what to do; no tokens, no personal data.';
comment on column integration.alerts.dagster_run_id is
    'The Dagster run that found it first; empty where none did.';
comment on column integration.alerts.began_at is
    'When it was found.';
comment on column integration.alerts.sent_at is
    'When every address had been told; empty where none is set, or one could not be reached.';
comment on column integration.alerts.healed_at is
    'When a run showed that it is over; empty while it lasts.';
select integration.isolate('integration.alerts');

create table integration.signals (
    tenant_id text not null,
    system text not null,
    entity text not null,
    remote_id text not null,
    signal uuid not null default gen_random_uuid(),
    received_at timestamptz not null default clock_timestamp(),
    attempts integer not null default 0,
    retry_at timestamptz,
    constraint signals_pkey primary key (tenant_id, system, entity, remote_id),
    constraint signals_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint signals_attempts_check check (attempts >= 0)
);
create index signals_received_at_idx on integration.signals (received_at);
comment on table integration.signals is
    'Records that changed at the source, as its webhooks say; each is read again, and its row here is '
    'deleted after raw and marts with the new version are committed.';
comment on column integration.signals.tenant_id is
    'The tenant.';
comment on column integration.signals.system is
    'Key of the CRM.';
comment on column integration.signals.entity is
    'Entity of the record.';
comment on column integration.signals.remote_id is
    'Id of the record in the system.';
comment on column integration.signals.signal is
    'A new value with each signal of the record: whoever deletes the row names the signal that was '
    'served, so that a later one stays.';
comment on column integration.signals.received_at is
    'When the oldest signal of the record that is not served yet arrived.';
comment on column integration.signals.attempts is
    'How often the record was read again in vain.';
comment on column integration.signals.retry_at is
    'After an attempt in vain, or while the day''s tokens are spent: not before this time.';
select integration.isolate('integration.signals', 'select, insert, update');

create table integration.webhook_events (
    tenant_id text not null,
    system text not null,
    webhook_id text not null,
    event_key text not null,
    entity text not null,
    remote_id text not null,
    happened_at timestamptz,
    reason text,
    merged_into text,
    version jsonb,
    actor_id text,
    received_at timestamptz not null default clock_timestamp(),
    served_at timestamptz,
    constraint webhook_events_pkey primary key (tenant_id, system, webhook_id, event_key),
    constraint webhook_events_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint webhook_events_reason_check check (
        reason in ('deleted', 'merged', 'converted', 'invisible')
    )
);
create index webhook_events_waiting_idx
    on integration.webhook_events (tenant_id, system, entity, remote_id)
    where served_at is null;
create index webhook_events_received_at_idx
    on integration.webhook_events (tenant_id, system, received_at);
comment on table integration.webhook_events is
    'Events that the webhooks of a source delivered: each once, however often it was delivered, until '
    'the source no longer repeats it. Each has a row in signals while it is not served.';
comment on column integration.webhook_events.tenant_id is
    'The tenant.';
comment on column integration.webhook_events.system is
    'Key of the CRM.';
comment on column integration.webhook_events.webhook_id is
    'Id of the webhook in the system.';
comment on column integration.webhook_events.event_key is
    'Key of the event, the same for each delivery of it.';
comment on column integration.webhook_events.entity is
    'Entity of the record.';
comment on column integration.webhook_events.remote_id is
    'Id of the record in the system.';
comment on column integration.webhook_events.happened_at is
    'When it happened, by the clock of the source.';
comment on column integration.webhook_events.reason is
    'Why the record is gone, if the event says so: deleted, merged, converted or invisible.';
comment on column integration.webhook_events.merged_into is
    'Of a merge: id of the record that is left.';
comment on column integration.webhook_events.version is
    'Values of the columns that the entity keeps a history of, as the event tells them.';
comment on column integration.webhook_events.actor_id is
    'Id of the user of the CRM who did it.';
comment on column integration.webhook_events.received_at is
    'When its first delivery arrived.';
comment on column integration.webhook_events.served_at is
    'When raw and the marts with the change were committed; empty before.';
select integration.isolate('integration.webhook_events', 'select, insert');

-- Every status that is shown anywhere is read from this view.
create table integration.check_results (
    tenant_id text not null,
    system text not null,
    asset text not null,
    check_name text not null,
    is_passed boolean not null,
    is_error boolean not null,
    finding text not null default '',
    evaluated_at timestamptz not null default now(),
    constraint check_results_pkey primary key (tenant_id, system, asset, check_name),
    constraint check_results_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index check_results_failing_idx on integration.check_results (asset)
where not is_passed;
comment on table integration.check_results is
    'The newest result of each check of an asset, for each tenant and system; Dagster itself shows '
    'only the newest result of any tenant.';
comment on column integration.check_results.tenant_id is
    'The tenant.';
comment on column integration.check_results.system is
    'Key of the CRM.';
comment on column integration.check_results.asset is
    'Key of the asset, such as crm/customers.';
comment on column integration.check_results.check_name is
    'Name of the check.';
comment on column integration.check_results.is_passed is
    'Whether the check passed.';
comment on column integration.check_results.is_error is
    'Whether a check that fails is an error, and not a warning.';
comment on column integration.check_results.finding is
    'Counts, ids and keys that a failed check names; never values.';
comment on column integration.check_results.evaluated_at is
    'When a run evaluated the check.';
select integration.isolate('integration.check_results');

create view integration.entity_status
with (security_invoker = true) as
select
    tenants.slug as tenant_id,
    entities.system,
    entities.entity,
    case
        when entities.entity = any (sync_settings.entities_off) then 'off'
        else newest.status
    end as state,
    newest.code,
    newest.reason,
    newest.run_id,
    newest.started_at as attempted_at,
    newest.fetched,
    complete.started_at as last_read_at,
    walked.watermark_after as watermark,
    case
        when walked.watermark_after ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}'
            then walked.watermark_after::timestamptz
    end as as_of,
    compared.missing,
    compared.extra,
    compared.stale,
    compared.checked_at,
    swept.swept_at as last_sweep_at,
    built.mart,
    case
        when built.mart is not null
            then integration.live_rows(tenants.slug, entities.system, built.mart)
    end as rows
from integration.tenants
cross join lateral (
    -- Each step finds the next entity in the index: the history itself is not read.
    with recursive step as (
        (
            select
                run_entities.system,
                run_entities.entity
            from integration.run_entities
            where run_entities.tenant_id = tenants.slug
            order by
                run_entities.system asc,
                run_entities.entity asc
            limit 1
        )
        union all
        select
            next.system,
            next.entity
        from step
        cross join lateral (
            select
                run_entities.system,
                run_entities.entity
            from integration.run_entities
            where run_entities.tenant_id = tenants.slug
                and (run_entities.system, run_entities.entity) > (step.system, step.entity)
            order by
                run_entities.system asc,
                run_entities.entity asc
            limit 1
        ) as next
    )
    select
        step.system,
        step.entity
    from step
) as entities
cross join lateral (
    select
        run_entities.status,
        run_entities.code,
        run_entities.reason,
        run_entities.run_id,
        run_entities.started_at,
        run_entities.fetched
    from integration.run_entities
    where run_entities.tenant_id = tenants.slug
        and run_entities.system = entities.system
        and run_entities.entity = entities.entity
        and run_entities.status is not null
    order by
        run_entities.started_at desc,
        run_entities.run_id desc
    limit 1
) as newest
-- A run that failed after its reads has not brought them into the marts. Its status is a sub-select,
-- so that Postgres walks the newest entries: of a join it sorted the whole history, 5,000 runs in 50 ms.
left join lateral (
    select run_entities.started_at
    from integration.run_entities
    where run_entities.tenant_id = tenants.slug
        and run_entities.system = entities.system
        and run_entities.entity = entities.entity
        and run_entities.status = 'complete'
        and (
            select runs.status
            from integration.runs
            where runs.id = run_entities.run_id
        ) in ('success', 'partial')
    order by
        run_entities.started_at desc,
        run_entities.run_id desc
    limit 1
) as complete on true
left join lateral (
    select run_entities.watermark_after
    from integration.run_entities
    where run_entities.tenant_id = tenants.slug
        and run_entities.system = entities.system
        and run_entities.entity = entities.entity
        and run_entities.watermark_after is not null
        and (
            select runs.status
            from integration.runs
            where runs.id = run_entities.run_id
        ) in ('success', 'partial')
    order by
        run_entities.started_at desc,
        run_entities.run_id desc
    limit 1
) as walked on true
left join lateral (
    select
        run_entities.missing,
        run_entities.extra,
        run_entities.stale,
        run_entities.checked_at
    from integration.run_entities
    where run_entities.tenant_id = tenants.slug
        and run_entities.system = entities.system
        and run_entities.entity = entities.entity
        and run_entities.missing is not null
    order by
        run_entities.started_at desc,
        run_entities.run_id desc
    limit 1
) as compared on true
left join lateral (
    select run_entities.swept_at
    from integration.run_entities
    where run_entities.tenant_id = tenants.slug
        and run_entities.system = entities.system
        and run_entities.entity = entities.entity
        and run_entities.swept_at is not null
        and (
            select runs.status
            from integration.runs
            where runs.id = run_entities.run_id
        ) in ('success', 'partial')
    order by run_entities.swept_at desc
    limit 1
) as swept on true
left join lateral (
    select run_marts.mart
    from integration.run_marts
    where run_marts.tenant_id = tenants.slug
        and run_marts.system = entities.system
        and run_marts.entity = entities.entity
    order by run_marts.mart asc
    limit 1
) as built on true
left join integration.sync_settings
    on sync_settings.tenant_id = tenants.slug
    and sync_settings.system = entities.system;
comment on view integration.entity_status is
    'How each entity of a tenant and system stands: its newest read, how far changes are included, '
    'the last comparison and sweep, its live rows. An entity that was never read is absent.';
comment on column integration.entity_status.tenant_id is
    'The tenant.';
comment on column integration.entity_status.system is
    'Key of the CRM.';
comment on column integration.entity_status.entity is
    'Name of the entity.';
comment on column integration.entity_status.state is
    'How its newest read ended, as in run_entities.status; off: the tenant switched it off.';
comment on column integration.entity_status.code is
    'Why that read is not complete, as a stable code; empty if it is.';
comment on column integration.entity_status.reason is
    'Why that read is not complete, in a sentence.';
comment on column integration.entity_status.run_id is
    'The run of that read.';
comment on column integration.entity_status.attempted_at is
    'When that run began.';
comment on column integration.entity_status.fetched is
    'Records that the source sent to it.';
comment on column integration.entity_status.last_read_at is
    'When the newest run began that read it whole and did not fail; empty before the first.';
comment on column integration.entity_status.watermark is
    'Up to where every change is included, as the source spells it.';
comment on column integration.entity_status.as_of is
    'The same as an instant; empty where the source spells it otherwise, or before the first read.';
comment on column integration.entity_status.missing is
    'Records of the source that the last comparison did not find in raw.';
comment on column integration.entity_status.extra is
    'Records of raw that the source no longer listed then and that are not gone.';
comment on column integration.entity_status.stale is
    'Records that raw had in another version then.';
comment on column integration.entity_status.checked_at is
    'When that comparison was made.';
comment on column integration.entity_status.last_sweep_at is
    'Deletions up to then are marked; empty before the first sweep or full read.';
comment on column integration.entity_status.mart is
    'The mart whose rows are its records; empty where there is none.';
comment on column integration.entity_status.rows is
    'Live rows of that mart from this system.';
select integration.isolate('integration.entity_status');
