-- Which run may write.
-- What: one row per lock, with the identity of the run that took it last.
-- Reads: nothing.
-- Needs: 0001_roles.sql, 0002_tenants_and_settings.sql.
--
-- An identity, not a number that grows: only equality counts, so that neither a restored database
-- nor a tenant that was erased and added again can make a former run look current.

create table integration.fences (
    lock text not null,
    tenant_id text not null,
    holder uuid not null default gen_random_uuid(),
    taken_at timestamptz not null default clock_timestamp(),
    constraint fences_pkey primary key (lock),
    constraint fences_holder_key unique (holder),
    constraint fences_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
comment on table integration.fences is
    'Who may write to a tenant''s raw tables or marts. Every transaction of a run holds its own row '
    'here: a run whose identity is no longer in it writes nothing more.';
comment on column integration.fences.lock is
    'The lock: raw/TENANT/SYSTEM of the run that reads the CRM, marts/TENANT of the one that builds.';
comment on column integration.fences.tenant_id is
    'The tenant.';
comment on column integration.fences.holder is
    'The run that took the lock last; a new value, which is nobody''s, after a change of company, a '
    'disconnect or a removal.';
comment on column integration.fences.taken_at is
    'When that was.';

grant select, insert, update, delete on integration.fences to pipeline_engine;

alter table integration.fences enable row level security;
alter table integration.fences force row level security;
create policy engine on integration.fences to pipeline_engine
    using (true) with check (true);

-- A run of the release before fails at its first write instead of working beside this one's.
drop table integration.generations;
