-- Which run of a tenant is the newest.
-- What: one number per tenant, greater with each run that takes the tenant's lock.
-- Reads: nothing.
-- Needs: 0001_roles.sql, 0002_tenants_and_settings.sql.

create table integration.generations (
    tenant_id text not null,
    generation bigint not null default 1,
    begun_at timestamptz not null default now(),
    constraint generations_pkey primary key (tenant_id),
    constraint generations_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
comment on table integration.generations is
    'The newest run of each tenant. Whatever a run writes is written in a transaction that holds its '
    'own number here: a run that lost its lock and wakes up after the next one began writes nothing.';
comment on column integration.generations.tenant_id is
    'The tenant.';
comment on column integration.generations.generation is
    'Number of the run that took the tenant''s lock last.';
comment on column integration.generations.begun_at is
    'When it did.';

grant select, insert, update, delete on integration.generations to pipeline_engine;

alter table integration.generations enable row level security;
alter table integration.generations force row level security;
create policy engine on integration.generations to pipeline_engine
    using (true) with check (true);
