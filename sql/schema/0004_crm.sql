-- The marts, each of all tenants and systems; the app may have rows and columns of its own there.
-- What: the tables of crm with their comments, indexes and policies; the view that counts rows.
-- Reads: nothing.
-- Needs: 0003_tenants.sql.
--
-- Written by `python -m pipedrive_pipeline.marts.ddl` from marts/declared.py.
--
-- A row with a system belongs to the sync: it is the record remote_id, or former_remote_id of an
-- account that the tenant left. A row without one was made by the app and is never touched. A
-- tenant with rows here cannot be removed by accident: erasing is an act of its own.

create table crm.users (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    name text,
    email text,
    is_active boolean,
    time_zone text,
    attributes jsonb not null default '{}',
    remote_created_at timestamptz,
    changed_at timestamptz,
    synced_at timestamptz,
    deleted_at timestamptz,
    deletion_reason text,
    merged_into_remote_id text collate "C",
    pipedrive_id bigint generated always as (
        case when system = 'pipedrive' and remote_id ~ '^[1-9][0-9]{0,17}$'
            then remote_id::bigint end
    ) stored,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint users_pkey primary key (id),
    constraint users_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint users_tenant_id_id_key unique (tenant_id, id),
    constraint users_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint users_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint users_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint users_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index users_tenant_id_updated_at_idx on crm.users (tenant_id, updated_at, id);
create index users_deleted_idx
    on crm.users (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index users_tenant_id_pipedrive_id_idx
    on crm.users (tenant_id, pipedrive_id)
    where pipedrive_id is not null;
comment on table crm.users is
    'Colleagues who work in the tenant''s CRM and own its records: one row per tenant and user of'
    ' the system, and the rows that the app made.';
comment on column crm.users.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.users.tenant_id is
    'The tenant.';
comment on column crm.users.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.users.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.users.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.users.name is
    'Name of the user.';
comment on column crm.users.email is
    'E-mail address that the user signs in with.';
comment on column crm.users.is_active is
    'Whether the user may sign in.';
comment on column crm.users.time_zone is
    'Time zone of the user, as the source names it.';
comment on column crm.users.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.users.remote_created_at is
    'When the record was made in the system.';
comment on column crm.users.changed_at is
    'When the record was last changed in the system.';
comment on column crm.users.synced_at is
    'When a sync last wrote this row.';
comment on column crm.users.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.users.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.users.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.users.pipedrive_id is
    'Id of the record in Pipedrive as a number; empty for rows of other systems and of the app.';
comment on column crm.users.created_at is
    'When this row was made.';
comment on column crm.users.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.users', has_readers => true);

create table crm.customers (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    owner_id uuid,
    owner_remote_id text collate "C",
    owner_name text,
    name text,
    street text,
    city text,
    postal_code text,
    region text,
    country text,
    address text,
    phone text,
    email text,
    website text,
    customer_number text,
    vat_id text,
    industry text,
    annual_revenue numeric,
    employee_count bigint,
    labels text[] not null default '{}',
    attributes jsonb not null default '{}',
    remote_created_at timestamptz,
    changed_at timestamptz,
    synced_at timestamptz,
    deleted_at timestamptz,
    deletion_reason text,
    merged_into_remote_id text collate "C",
    pipedrive_id bigint generated always as (
        case when system = 'pipedrive' and remote_id ~ '^[1-9][0-9]{0,17}$'
            then remote_id::bigint end
    ) stored,
    pipedrive_created_at timestamptz generated always as (
        case when system = 'pipedrive'
            then remote_created_at end
    ) stored,
    pipedrive_synced_at timestamptz generated always as (
        case when system = 'pipedrive'
            then synced_at end
    ) stored,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint customers_pkey primary key (id),
    constraint customers_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint customers_tenant_id_id_key unique (tenant_id, id),
    constraint customers_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint customers_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint customers_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint customers_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index customers_tenant_id_updated_at_idx on crm.customers (tenant_id, updated_at, id);
create index customers_deleted_idx
    on crm.customers (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index customers_tenant_id_pipedrive_id_idx
    on crm.customers (tenant_id, pipedrive_id)
    where pipedrive_id is not null;
comment on table crm.customers is
    'Companies that a tenant does business with: one row per tenant and company in the system, '
    'and the rows that the app made.';
comment on column crm.customers.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.customers.tenant_id is
    'The tenant.';
comment on column crm.customers.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.customers.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.customers.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.customers.owner_id is
    'The user (crm.users.id) who owns the company; empty where that user was never read.';
comment on column crm.customers.owner_remote_id is
    'Id in the system of the user who owns the company.';
comment on column crm.customers.owner_name is
    'Name of that user, also of one who is gone at the source.';
comment on column crm.customers.name is
    'Name of the company.';
comment on column crm.customers.street is
    'Street and house number, from the parts of the address.';
comment on column crm.customers.city is
    'City (locality), from the parts of the address.';
comment on column crm.customers.postal_code is
    'Postal code, from the parts of the address.';
comment on column crm.customers.region is
    'State or region, from the parts of the address.';
comment on column crm.customers.country is
    'Country as the source names it, from the parts of the address.';
comment on column crm.customers.address is
    'Address as it was typed; the only part that is filled when the source has no others.';
comment on column crm.customers.phone is
    'Phone number; filled by a field mapping.';
comment on column crm.customers.email is
    'E-mail address; filled by a field mapping.';
comment on column crm.customers.website is
    'Website.';
comment on column crm.customers.customer_number is
    'The tenant''s own number of the customer; filled by a field mapping.';
comment on column crm.customers.vat_id is
    'VAT identification number; filled by a field mapping.';
comment on column crm.customers.industry is
    'Industry by name; the option''s id where its name is not known.';
comment on column crm.customers.annual_revenue is
    'Annual revenue, in the currency of the tenant''s account.';
comment on column crm.customers.employee_count is
    'Number of employees.';
comment on column crm.customers.labels is
    'Names of the labels, in the order of the source, also of labels that are gone; the id where '
    'no name was ever known.';
comment on column crm.customers.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.customers.remote_created_at is
    'When the record was made in the system.';
comment on column crm.customers.changed_at is
    'When the record was last changed in the system.';
comment on column crm.customers.synced_at is
    'When a sync last wrote this row.';
comment on column crm.customers.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.customers.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.customers.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.customers.pipedrive_id is
    'Id of the record in Pipedrive as a number; empty for rows of other systems and of the app.';
comment on column crm.customers.pipedrive_created_at is
    'When the record was made in Pipedrive.';
comment on column crm.customers.pipedrive_synced_at is
    'When a sync last wrote this row from Pipedrive.';
comment on column crm.customers.created_at is
    'When this row was made.';
comment on column crm.customers.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.customers', has_readers => true);

create table crm.contacts (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    customer_id uuid,
    customer_remote_id text collate "C",
    owner_id uuid,
    owner_remote_id text collate "C",
    owner_name text,
    name text,
    first_name text,
    last_name text,
    email text,
    phone text,
    emails jsonb not null default '[]',
    phones jsonb not null default '[]',
    job_title text,
    labels text[] not null default '{}',
    attributes jsonb not null default '{}',
    remote_created_at timestamptz,
    changed_at timestamptz,
    synced_at timestamptz,
    deleted_at timestamptz,
    deletion_reason text,
    merged_into_remote_id text collate "C",
    pipedrive_id bigint generated always as (
        case when system = 'pipedrive' and remote_id ~ '^[1-9][0-9]{0,17}$'
            then remote_id::bigint end
    ) stored,
    pipedrive_created_at timestamptz generated always as (
        case when system = 'pipedrive'
            then remote_created_at end
    ) stored,
    pipedrive_synced_at timestamptz generated always as (
        case when system = 'pipedrive'
            then synced_at end
    ) stored,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint contacts_pkey primary key (id),
    constraint contacts_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint contacts_tenant_id_id_key unique (tenant_id, id),
    constraint contacts_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint contacts_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint contacts_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint contacts_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index contacts_tenant_id_updated_at_idx on crm.contacts (tenant_id, updated_at, id);
create index contacts_deleted_idx
    on crm.contacts (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index contacts_tenant_id_pipedrive_id_idx
    on crm.contacts (tenant_id, pipedrive_id)
    where pipedrive_id is not null;
create index contacts_tenant_id_customer_id_idx on crm.contacts (tenant_id, customer_id);
comment on table crm.contacts is
    'People that a tenant knows: one row per tenant and person in the system, and the rows that '
    'the app made.';
comment on column crm.contacts.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.contacts.tenant_id is
    'The tenant.';
comment on column crm.contacts.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.contacts.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.contacts.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.contacts.customer_id is
    'The customer (crm.customers.id) that the person belongs to, or the one that it was merged '
    'into; empty where the person has none or it is not known.';
comment on column crm.contacts.customer_remote_id is
    'Id in the system of the company that the person belongs to.';
comment on column crm.contacts.owner_id is
    'The user (crm.users.id) who owns the person; empty where that user was never read.';
comment on column crm.contacts.owner_remote_id is
    'Id in the system of the user who owns the person.';
comment on column crm.contacts.owner_name is
    'Name of that user, also of one who is gone at the source.';
comment on column crm.contacts.name is
    'Full name.';
comment on column crm.contacts.first_name is
    'First name.';
comment on column crm.contacts.last_name is
    'Last name.';
comment on column crm.contacts.email is
    'Primary e-mail address, else the first; as sent.';
comment on column crm.contacts.phone is
    'Primary phone number, else the first; as sent.';
comment on column crm.contacts.emails is
    'All e-mail addresses that are not empty: [{"value": "…", "primary": true, "label": "work"}];'
    ' an entry that was sent as text has its value only.';
comment on column crm.contacts.phones is
    'All phone numbers that are not empty: [{"value": "…", "primary": true, "label": "work"}]; an'
    ' entry that was sent as text has its value only.';
comment on column crm.contacts.job_title is
    'Job title.';
comment on column crm.contacts.labels is
    'Names of the labels, in the order of the source, also of labels that are gone; the id where '
    'no name was ever known.';
comment on column crm.contacts.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.contacts.remote_created_at is
    'When the record was made in the system.';
comment on column crm.contacts.changed_at is
    'When the record was last changed in the system.';
comment on column crm.contacts.synced_at is
    'When a sync last wrote this row.';
comment on column crm.contacts.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.contacts.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.contacts.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.contacts.pipedrive_id is
    'Id of the record in Pipedrive as a number; empty for rows of other systems and of the app.';
comment on column crm.contacts.pipedrive_created_at is
    'When the record was made in Pipedrive.';
comment on column crm.contacts.pipedrive_synced_at is
    'When a sync last wrote this row from Pipedrive.';
comment on column crm.contacts.created_at is
    'When this row was made.';
comment on column crm.contacts.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.contacts', has_readers => true);

alter table crm.customers
    add constraint customers_owner_id_fkey foreign key (tenant_id, owner_id)
    references crm.users (tenant_id, id)
    on delete set null (owner_id) deferrable;
alter table crm.contacts
    add constraint contacts_customer_id_fkey foreign key (tenant_id, customer_id)
    references crm.customers (tenant_id, id)
    on delete set null (customer_id) deferrable;
alter table crm.contacts
    add constraint contacts_owner_id_fkey foreign key (tenant_id, owner_id)
    references crm.users (tenant_id, id)
    on delete set null (owner_id) deferrable;

create or replace view integration.mart_rows
with (security_invoker = true) as
select
    users.tenant_id,
    users.system,
    'users' as mart,
    count(*) as rows
from crm.users
where users.remote_id is not null
    and users.deleted_at is null
group by
    users.tenant_id,
    users.system
union all
select
    customers.tenant_id,
    customers.system,
    'customers' as mart,
    count(*) as rows
from crm.customers
where customers.remote_id is not null
    and customers.deleted_at is null
group by
    customers.tenant_id,
    customers.system
union all
select
    contacts.tenant_id,
    contacts.system,
    'contacts' as mart,
    count(*) as rows
from crm.contacts
where contacts.remote_id is not null
    and contacts.deleted_at is null
group by
    contacts.tenant_id,
    contacts.system;
comment on view integration.mart_rows is
    'Number of live rows per tenant, system and mart; without the rows that the app made.';
comment on column integration.mart_rows.tenant_id is
    'The tenant.';
comment on column integration.mart_rows.system is
    'Key of the CRM.';
comment on column integration.mart_rows.mart is
    'Name of the table in crm.';
comment on column integration.mart_rows.rows is
    'Rows that are not marked as deleted.';
select integration.isolate('integration.mart_rows');
