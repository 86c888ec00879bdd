-- Records that were erased here on request, and what ageing erased.
-- What: which records stay out until they are edited at the source; erased rows in the history.
-- Reads: nothing.
-- Needs: 0002_tenants_and_settings.sql, 0003_history.sql.

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
    'The CRM: pipedrive.';
comment on column integration.erased_records.entity is
    'Kind of the record: persons.';
comment on column integration.erased_records.record_id is
    'Its key in the source; without it nothing could keep the record out.';
comment on column integration.erased_records.version is
    'When the erased version was last edited at the source; only a later one comes back. Empty: '
    'it was not known, and any version that names its time comes back.';
comment on column integration.erased_records.receipt is
    'Number of the erasure, also in audit_log, which does not say whom it concerned.';
comment on column integration.erased_records.erased_at is
    'When it was erased here.';

alter table integration.sync_logs
    add column organizations_erased bigint not null default 0,
    add column persons_erased bigint not null default 0;
comment on column integration.sync_logs.organizations_erased is
    'Organizations that were erased, since they are deleted at the source for as long as '
    'sync_settings.erase_deleted_after_days says.';
comment on column integration.sync_logs.persons_erased is
    'Persons that were erased, since they are deleted at the source for as long as '
    'sync_settings.erase_deleted_after_days says.';
comment on column integration.sync_settings.erase_deleted_after_days is
    'Days after which records that are marked as deleted or merged are erased here too; 0 is with '
    'the next run, empty is never. Records that are merely invisible stay.';

grant select, insert, update, delete on integration.erased_records to pipeline_engine;

alter table integration.erased_records enable row level security;
alter table integration.erased_records force row level security;
create policy engine on integration.erased_records to pipeline_engine
    using (true) with check (true);
