-- The marts, each of all tenants and systems; the app may have rows and columns of its own there.
-- What: the tables of crm with their comments, indexes and policies; the function that counts rows.
-- Reads: nothing.
-- Needs: 0003_tenants.sql.
--
-- Written from marts/declared.py as it was; what was declared later is in later files.
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
    is_admin boolean,
    role text,
    team text,
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
comment on column crm.users.is_admin is
    'Whether the user is an administrator of the account.';
comment on column crm.users.role is
    'Role that decides what the user sees, by name, or by its id where the source gives no name; '
    'in Pipedrive the visibility group.';
comment on column crm.users.team is
    'Team of the user, by name or id.';
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
    visible_to text,
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
comment on column crm.customers.visible_to is
    'Who may see the record in the system, as the source says it; in Pipedrive 1: the owner, 3: '
    'everybody, or the owner''s visibility group where the plan has groups, 5: that group and '
    'those below it, 7: everybody.';
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
    visible_to text,
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
create index contacts_tenant_id_customer_id_idx
    on crm.contacts (tenant_id, customer_id)
    where customer_id is not null;
create index contacts_tenant_id_customer_remote_id_idx
    on crm.contacts (tenant_id, customer_remote_id)
    where customer_id is null and customer_remote_id is not null;
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
comment on column crm.contacts.visible_to is
    'Who may see the record in the system, as the source says it; in Pipedrive 1: the owner, 3: '
    'everybody, or the owner''s visibility group where the plan has groups, 5: that group and '
    'those below it, 7: everybody.';
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

create table crm.pipelines (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    name text,
    sort bigint,
    probability_used boolean,
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
    constraint pipelines_pkey primary key (id),
    constraint pipelines_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint pipelines_tenant_id_id_key unique (tenant_id, id),
    constraint pipelines_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint pipelines_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint pipelines_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint pipelines_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index pipelines_tenant_id_updated_at_idx on crm.pipelines (tenant_id, updated_at, id);
create index pipelines_deleted_idx
    on crm.pipelines (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index pipelines_tenant_id_pipedrive_id_idx
    on crm.pipelines (tenant_id, pipedrive_id)
    where pipedrive_id is not null;
comment on table crm.pipelines is
    'Sales processes, each a row of stages: one row per tenant and pipeline in the system, and '
    'the rows that the app made.';
comment on column crm.pipelines.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.pipelines.tenant_id is
    'The tenant.';
comment on column crm.pipelines.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.pipelines.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.pipelines.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.pipelines.name is
    'Name of the pipeline; the last one known where it is gone.';
comment on column crm.pipelines.sort is
    'Place in the order of the source, ascending; has gaps.';
comment on column crm.pipelines.probability_used is
    'Whether the probabilities of its deals and stages count.';
comment on column crm.pipelines.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.pipelines.remote_created_at is
    'When the record was made in the system.';
comment on column crm.pipelines.changed_at is
    'When the record was last changed in the system.';
comment on column crm.pipelines.synced_at is
    'When a sync last wrote this row.';
comment on column crm.pipelines.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.pipelines.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.pipelines.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.pipelines.pipedrive_id is
    'Id of the record in Pipedrive as a number; empty for rows of other systems and of the app.';
comment on column crm.pipelines.created_at is
    'When this row was made.';
comment on column crm.pipelines.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.pipelines', has_readers => true);

create table crm.stages (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    pipeline_id uuid,
    pipeline_remote_id text collate "C",
    name text,
    sort bigint,
    probability numeric,
    is_closed boolean,
    is_won boolean,
    rotten_after_days bigint,
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
    constraint stages_pkey primary key (id),
    constraint stages_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint stages_tenant_id_id_key unique (tenant_id, id),
    constraint stages_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint stages_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint stages_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint stages_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index stages_tenant_id_updated_at_idx on crm.stages (tenant_id, updated_at, id);
create index stages_deleted_idx
    on crm.stages (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index stages_tenant_id_pipedrive_id_idx
    on crm.stages (tenant_id, pipedrive_id)
    where pipedrive_id is not null;
comment on table crm.stages is
    'Stages of the pipelines: one row per tenant and stage of a pipeline in the system, and the '
    'rows that the app made.';
comment on column crm.stages.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.stages.tenant_id is
    'The tenant.';
comment on column crm.stages.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.stages.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.stages.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.stages.pipeline_id is
    'The row of crm.pipelines of the pipeline, or of the one that it was merged into; empty where'
    ' there is none or it is not known.';
comment on column crm.stages.pipeline_remote_id is
    'Id in the system of the pipeline.';
comment on column crm.stages.name is
    'Name of the stage; the last one known where it is gone.';
comment on column crm.stages.sort is
    'Place in the order of the source, ascending; has gaps.';
comment on column crm.stages.probability is
    'Chance in percent that a deal in this stage is won.';
comment on column crm.stages.is_closed is
    'Whether a deal in this stage is closed; false in a system such as Pipedrive, where the '
    'status of a deal says so, not its stage.';
comment on column crm.stages.is_won is
    'Whether a deal in this stage is won; false in such a system.';
comment on column crm.stages.rotten_after_days is
    'Days after which a deal in this stage without activity counts as rotten; empty: never.';
comment on column crm.stages.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.stages.remote_created_at is
    'When the record was made in the system.';
comment on column crm.stages.changed_at is
    'When the record was last changed in the system.';
comment on column crm.stages.synced_at is
    'When a sync last wrote this row.';
comment on column crm.stages.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.stages.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.stages.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.stages.pipedrive_id is
    'Id of the record in Pipedrive as a number; empty for rows of other systems and of the app.';
comment on column crm.stages.created_at is
    'When this row was made.';
comment on column crm.stages.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.stages', has_readers => true);

create table crm.products (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    owner_id uuid,
    owner_remote_id text collate "C",
    name text,
    code text,
    description text,
    unit text,
    tax numeric,
    category text,
    is_active boolean,
    billing_frequency text,
    billing_cycles bigint,
    visible_to text,
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
    constraint products_pkey primary key (id),
    constraint products_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint products_tenant_id_id_key unique (tenant_id, id),
    constraint products_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint products_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint products_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint products_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index products_tenant_id_updated_at_idx on crm.products (tenant_id, updated_at, id);
create index products_deleted_idx
    on crm.products (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index products_tenant_id_pipedrive_id_idx
    on crm.products (tenant_id, pipedrive_id)
    where pipedrive_id is not null;
comment on table crm.products is
    'Products that a tenant sells; their prices are in crm.product_prices: one row per tenant and'
    ' product in the system, and the rows that the app made.';
comment on column crm.products.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.products.tenant_id is
    'The tenant.';
comment on column crm.products.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.products.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.products.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.products.owner_id is
    'The row of crm.users of the user who owns the product, or of the one that it was merged '
    'into; empty where there is none or it is not known.';
comment on column crm.products.owner_remote_id is
    'Id in the system of the user who owns the product.';
comment on column crm.products.name is
    'Name of the product.';
comment on column crm.products.code is
    'Code or number of the product.';
comment on column crm.products.description is
    'Description.';
comment on column crm.products.unit is
    'Unit in which it is sold.';
comment on column crm.products.tax is
    'Tax in percent.';
comment on column crm.products.category is
    'Category by name; the option''s id where its name is not known.';
comment on column crm.products.is_active is
    'Whether it can be added to deals.';
comment on column crm.products.billing_frequency is
    'How often it is billed, as the source names it, such as monthly.';
comment on column crm.products.billing_cycles is
    'How many times it is billed; empty: once, or without an end.';
comment on column crm.products.visible_to is
    'Who may see the record in the system, as the source says it; in Pipedrive 1: the owner, 3: '
    'everybody, or the owner''s visibility group where the plan has groups, 5: that group and '
    'those below it, 7: everybody.';
comment on column crm.products.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.products.remote_created_at is
    'When the record was made in the system.';
comment on column crm.products.changed_at is
    'When the record was last changed in the system.';
comment on column crm.products.synced_at is
    'When a sync last wrote this row.';
comment on column crm.products.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.products.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.products.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.products.pipedrive_id is
    'Id of the record in Pipedrive as a number; empty for rows of other systems and of the app.';
comment on column crm.products.created_at is
    'When this row was made.';
comment on column crm.products.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.products', has_readers => true);

create table crm.product_prices (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    product_id uuid,
    product_remote_id text collate "C",
    variation_remote_id text collate "C",
    variation_name text,
    currency text,
    price numeric,
    cost numeric,
    direct_cost numeric,
    overhead numeric,
    comments text,
    attributes jsonb not null default '{}',
    remote_created_at timestamptz,
    changed_at timestamptz,
    synced_at timestamptz,
    deleted_at timestamptz,
    deletion_reason text,
    merged_into_remote_id text collate "C",
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint product_prices_pkey primary key (id),
    constraint product_prices_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint product_prices_tenant_id_id_key unique (tenant_id, id),
    constraint product_prices_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint product_prices_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint product_prices_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint product_prices_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index product_prices_tenant_id_updated_at_idx on crm.product_prices (tenant_id, updated_at, id);
create index product_prices_deleted_idx
    on crm.product_prices (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index product_prices_part_of_idx
    on crm.product_prices (tenant_id, system, product_remote_id);
create index product_prices_tenant_id_product_id_idx
    on crm.product_prices (tenant_id, product_id)
    where product_id is not null;
create index product_prices_tenant_id_product_remote_id_idx
    on crm.product_prices (tenant_id, product_remote_id)
    where product_id is null and product_remote_id is not null;
comment on table crm.product_prices is
    'Prices of products and of their variations: one row per tenant and product, variation and '
    'currency in the system, and the rows that the app made.';
comment on column crm.product_prices.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.product_prices.tenant_id is
    'The tenant.';
comment on column crm.product_prices.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.product_prices.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.product_prices.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.product_prices.product_id is
    'The row of crm.products of the product, or of the one that it was merged into; empty where '
    'there is none or it is not known.';
comment on column crm.product_prices.product_remote_id is
    'Id in the system of the product.';
comment on column crm.product_prices.variation_remote_id is
    'Id in the system of the variation; empty for a price of the product itself.';
comment on column crm.product_prices.variation_name is
    'Name of the variation.';
comment on column crm.product_prices.currency is
    'Currency of the amounts of this row, ISO 4217.';
comment on column crm.product_prices.price is
    'Price of one unit.';
comment on column crm.product_prices.cost is
    'Cost of one unit.';
comment on column crm.product_prices.direct_cost is
    'Direct cost of one unit; earlier called overhead in Pipedrive.';
comment on column crm.product_prices.overhead is
    'Overhead of one unit, where the system has both.';
comment on column crm.product_prices.comments is
    'Comments on the price.';
comment on column crm.product_prices.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.product_prices.remote_created_at is
    'When the record was made in the system.';
comment on column crm.product_prices.changed_at is
    'When the record was last changed in the system.';
comment on column crm.product_prices.synced_at is
    'When a sync last wrote this row.';
comment on column crm.product_prices.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.product_prices.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.product_prices.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.product_prices.created_at is
    'When this row was made.';
comment on column crm.product_prices.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.product_prices', has_readers => true);

create table crm.leads (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    customer_id uuid,
    customer_remote_id text collate "C",
    contact_id uuid,
    contact_remote_id text collate "C",
    owner_id uuid,
    owner_remote_id text collate "C",
    creator_id uuid,
    creator_remote_id text collate "C",
    converted_deal_id uuid,
    converted_deal_remote_id text collate "C",
    source_deal_id uuid,
    source_deal_remote_id text collate "C",
    name text,
    status text,
    source text,
    channel text,
    person_name text,
    company_name text,
    email text,
    phone text,
    amount numeric,
    currency text,
    expected_close_date date,
    is_archived boolean,
    archived_at timestamptz,
    converted_at timestamptz,
    labels text[] not null default '{}',
    visible_to text,
    attributes jsonb not null default '{}',
    remote_created_at timestamptz,
    changed_at timestamptz,
    synced_at timestamptz,
    deleted_at timestamptz,
    deletion_reason text,
    merged_into_remote_id text collate "C",
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint leads_pkey primary key (id),
    constraint leads_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint leads_tenant_id_id_key unique (tenant_id, id),
    constraint leads_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint leads_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint leads_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint leads_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index leads_tenant_id_updated_at_idx on crm.leads (tenant_id, updated_at, id);
create index leads_deleted_idx
    on crm.leads (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index leads_tenant_id_customer_id_idx
    on crm.leads (tenant_id, customer_id)
    where customer_id is not null;
create index leads_tenant_id_customer_remote_id_idx
    on crm.leads (tenant_id, customer_remote_id)
    where customer_id is null and customer_remote_id is not null;
create index leads_tenant_id_contact_id_idx
    on crm.leads (tenant_id, contact_id)
    where contact_id is not null;
create index leads_tenant_id_contact_remote_id_idx
    on crm.leads (tenant_id, contact_remote_id)
    where contact_id is null and contact_remote_id is not null;
create index leads_tenant_id_converted_deal_id_idx
    on crm.leads (tenant_id, converted_deal_id)
    where converted_deal_id is not null;
create index leads_tenant_id_converted_deal_remote_id_idx
    on crm.leads (tenant_id, converted_deal_remote_id)
    where converted_deal_id is null and converted_deal_remote_id is not null;
create index leads_tenant_id_source_deal_id_idx
    on crm.leads (tenant_id, source_deal_id)
    where source_deal_id is not null;
create index leads_tenant_id_source_deal_remote_id_idx
    on crm.leads (tenant_id, source_deal_remote_id)
    where source_deal_id is null and source_deal_remote_id is not null;
comment on table crm.leads is
    'Leads: possible deals that nobody works on yet: one row per tenant and lead in the system, '
    'and the rows that the app made.';
comment on column crm.leads.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.leads.tenant_id is
    'The tenant.';
comment on column crm.leads.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.leads.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.leads.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.leads.customer_id is
    'The row of crm.customers of the company of the lead, or of the one that it was merged into; '
    'empty where there is none or it is not known.';
comment on column crm.leads.customer_remote_id is
    'Id in the system of the company of the lead.';
comment on column crm.leads.contact_id is
    'The row of crm.contacts of the person of the lead, or of the one that it was merged into; '
    'empty where there is none or it is not known.';
comment on column crm.leads.contact_remote_id is
    'Id in the system of the person of the lead.';
comment on column crm.leads.owner_id is
    'The row of crm.users of the user who owns the lead, or of the one that it was merged into; '
    'empty where there is none or it is not known.';
comment on column crm.leads.owner_remote_id is
    'Id in the system of the user who owns the lead.';
comment on column crm.leads.creator_id is
    'The row of crm.users of the user who made the lead, or of the one that it was merged into; '
    'empty where there is none or it is not known.';
comment on column crm.leads.creator_remote_id is
    'Id in the system of the user who made the lead.';
comment on column crm.leads.converted_deal_id is
    'The row of crm.deals of the deal that the lead became, or of the one that it was merged '
    'into; empty where there is none or it is not known.';
comment on column crm.leads.converted_deal_remote_id is
    'Id in the system of the deal that the lead became.';
comment on column crm.leads.source_deal_id is
    'The row of crm.deals of the deal that was turned into this lead, or of the one that it was '
    'merged into; empty where there is none or it is not known.';
comment on column crm.leads.source_deal_remote_id is
    'Id in the system of the deal that was turned into this lead.';
comment on column crm.leads.name is
    'Title of the lead.';
comment on column crm.leads.status is
    'Status as the source names it; empty where leads have none.';
comment on column crm.leads.source is
    'Where the lead came from, as the source names it.';
comment on column crm.leads.channel is
    'Marketing channel, by name or id.';
comment on column crm.leads.person_name is
    'Name of the person, where the lead itself has it.';
comment on column crm.leads.company_name is
    'Name of the company, where the lead itself has it.';
comment on column crm.leads.email is
    'E-mail address, where the lead itself has one.';
comment on column crm.leads.phone is
    'Phone number, where the lead itself has one.';
comment on column crm.leads.amount is
    'Expected value, in the currency of this row.';
comment on column crm.leads.currency is
    'Currency of the amounts of this row, ISO 4217; never add up two currencies.';
comment on column crm.leads.expected_close_date is
    'Day on which it should be decided.';
comment on column crm.leads.is_archived is
    'Whether it is archived; an archived record is not deleted.';
comment on column crm.leads.archived_at is
    'When it was archived; empty if it is not.';
comment on column crm.leads.converted_at is
    'When it became a deal; empty if it did not.';
comment on column crm.leads.labels is
    'Names of the labels, in the order of the source, also of labels that are gone; the id where '
    'no name was ever known.';
comment on column crm.leads.visible_to is
    'Who may see the record in the system, as the source says it; in Pipedrive 1: the owner, 3: '
    'everybody, or the owner''s visibility group where the plan has groups, 5: that group and '
    'those below it, 7: everybody.';
comment on column crm.leads.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.leads.remote_created_at is
    'When the record was made in the system.';
comment on column crm.leads.changed_at is
    'When the record was last changed in the system.';
comment on column crm.leads.synced_at is
    'When a sync last wrote this row.';
comment on column crm.leads.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.leads.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.leads.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.leads.created_at is
    'When this row was made.';
comment on column crm.leads.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.leads', has_readers => true);

create table crm.deals (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    customer_id uuid,
    customer_remote_id text collate "C",
    contact_id uuid,
    contact_remote_id text collate "C",
    owner_id uuid,
    owner_remote_id text collate "C",
    creator_id uuid,
    creator_remote_id text collate "C",
    pipeline_id uuid,
    pipeline_remote_id text collate "C",
    stage_id uuid,
    stage_remote_id text collate "C",
    lead_id uuid,
    lead_remote_id text collate "C",
    converted_lead_id uuid,
    converted_lead_remote_id text collate "C",
    name text,
    status text,
    amount numeric,
    currency text,
    probability numeric,
    mrr numeric,
    arr numeric,
    acv numeric,
    expected_close_date date,
    stage_changed_at timestamptz,
    closed_at timestamptz,
    won_at timestamptz,
    lost_at timestamptz,
    first_won_at timestamptz,
    lost_reason text,
    forecast_category text,
    source text,
    channel text,
    is_archived boolean,
    archived_at timestamptz,
    labels text[] not null default '{}',
    visible_to text,
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
    constraint deals_pkey primary key (id),
    constraint deals_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint deals_tenant_id_id_key unique (tenant_id, id),
    constraint deals_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint deals_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint deals_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint deals_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index deals_tenant_id_updated_at_idx on crm.deals (tenant_id, updated_at, id);
create index deals_deleted_idx
    on crm.deals (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index deals_tenant_id_pipedrive_id_idx
    on crm.deals (tenant_id, pipedrive_id)
    where pipedrive_id is not null;
create index deals_tenant_id_customer_id_idx
    on crm.deals (tenant_id, customer_id)
    where customer_id is not null;
create index deals_tenant_id_customer_remote_id_idx
    on crm.deals (tenant_id, customer_remote_id)
    where customer_id is null and customer_remote_id is not null;
create index deals_tenant_id_contact_id_idx
    on crm.deals (tenant_id, contact_id)
    where contact_id is not null;
create index deals_tenant_id_contact_remote_id_idx
    on crm.deals (tenant_id, contact_remote_id)
    where contact_id is null and contact_remote_id is not null;
create index deals_tenant_id_lead_id_idx
    on crm.deals (tenant_id, lead_id)
    where lead_id is not null;
create index deals_tenant_id_lead_remote_id_idx
    on crm.deals (tenant_id, lead_remote_id)
    where lead_id is null and lead_remote_id is not null;
create index deals_tenant_id_converted_lead_id_idx
    on crm.deals (tenant_id, converted_lead_id)
    where converted_lead_id is not null;
create index deals_tenant_id_converted_lead_remote_id_idx
    on crm.deals (tenant_id, converted_lead_remote_id)
    where converted_lead_id is null and converted_lead_remote_id is not null;
comment on table crm.deals is
    'Deals: possible and closed sales: one row per tenant and deal in the system, and the rows '
    'that the app made.';
comment on column crm.deals.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.deals.tenant_id is
    'The tenant.';
comment on column crm.deals.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.deals.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.deals.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.deals.customer_id is
    'The row of crm.customers of the company of the deal, or of the one that it was merged into; '
    'empty where there is none or it is not known.';
comment on column crm.deals.customer_remote_id is
    'Id in the system of the company of the deal.';
comment on column crm.deals.contact_id is
    'The row of crm.contacts of the main person of the deal, or of the one that it was merged '
    'into; empty where there is none or it is not known.';
comment on column crm.deals.contact_remote_id is
    'Id in the system of the main person of the deal.';
comment on column crm.deals.owner_id is
    'The row of crm.users of the user who owns the deal, or of the one that it was merged into; '
    'empty where there is none or it is not known.';
comment on column crm.deals.owner_remote_id is
    'Id in the system of the user who owns the deal.';
comment on column crm.deals.creator_id is
    'The row of crm.users of the user who made the deal, or of the one that it was merged into; '
    'empty where there is none or it is not known.';
comment on column crm.deals.creator_remote_id is
    'Id in the system of the user who made the deal.';
comment on column crm.deals.pipeline_id is
    'The row of crm.pipelines of the pipeline, or of the one that it was merged into; empty where'
    ' there is none or it is not known.';
comment on column crm.deals.pipeline_remote_id is
    'Id in the system of the pipeline.';
comment on column crm.deals.stage_id is
    'The row of crm.stages of the stage, or of the one that it was merged into; empty where there'
    ' is none or it is not known.';
comment on column crm.deals.stage_remote_id is
    'Id in the system of the stage.';
comment on column crm.deals.lead_id is
    'The row of crm.leads of the lead that became this deal, or of the one that it was merged '
    'into; empty where there is none or it is not known.';
comment on column crm.deals.lead_remote_id is
    'Id in the system of the lead that became this deal.';
comment on column crm.deals.converted_lead_id is
    'The row of crm.leads of the lead that the deal was turned into, or of the one that it was '
    'merged into; empty where there is none or it is not known.';
comment on column crm.deals.converted_lead_remote_id is
    'Id in the system of the lead that the deal was turned into.';
comment on column crm.deals.name is
    'Title of the deal.';
comment on column crm.deals.status is
    'open, won or lost; independent of the stage in Pipedrive, where a won deal stays in its '
    'stage. A value that is none of them is shown as it was sent.';
comment on column crm.deals.amount is
    'Value of the deal, in the currency of this row.';
comment on column crm.deals.currency is
    'Currency of the amounts of this row, ISO 4217; never add up two currencies.';
comment on column crm.deals.probability is
    'Chance in percent that the deal is won, where it has its own; empty: that of its stage '
    'counts.';
comment on column crm.deals.mrr is
    'Monthly recurring revenue, in the currency of this row.';
comment on column crm.deals.arr is
    'Annual recurring revenue, in the currency of this row.';
comment on column crm.deals.acv is
    'Annual contract value, in the currency of this row.';
comment on column crm.deals.expected_close_date is
    'Day on which it should be decided.';
comment on column crm.deals.stage_changed_at is
    'When it came into its stage; empty if it never moved.';
comment on column crm.deals.closed_at is
    'When it was last won or lost; empty while it is open.';
comment on column crm.deals.won_at is
    'When it was won; empty unless it is won now.';
comment on column crm.deals.lost_at is
    'When it was lost; empty unless it is lost now.';
comment on column crm.deals.first_won_at is
    'When it was won for the first time; stays after a reopening.';
comment on column crm.deals.lost_reason is
    'Why it was lost.';
comment on column crm.deals.forecast_category is
    'Category in the sales forecast, where the system has one.';
comment on column crm.deals.source is
    'Where the deal came from, as the source names it.';
comment on column crm.deals.channel is
    'Marketing channel by name; the id where no name is known.';
comment on column crm.deals.is_archived is
    'Whether it is archived; an archived record is not deleted.';
comment on column crm.deals.archived_at is
    'When it was archived; empty if it is not.';
comment on column crm.deals.labels is
    'Names of the labels, in the order of the source, also of labels that are gone; the id where '
    'no name was ever known.';
comment on column crm.deals.visible_to is
    'Who may see the record in the system, as the source says it; in Pipedrive 1: the owner, 3: '
    'everybody, or the owner''s visibility group where the plan has groups, 5: that group and '
    'those below it, 7: everybody.';
comment on column crm.deals.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.deals.remote_created_at is
    'When the record was made in the system.';
comment on column crm.deals.changed_at is
    'When the record was last changed in the system.';
comment on column crm.deals.synced_at is
    'When a sync last wrote this row.';
comment on column crm.deals.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.deals.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.deals.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.deals.pipedrive_id is
    'Id of the record in Pipedrive as a number; empty for rows of other systems and of the app.';
comment on column crm.deals.created_at is
    'When this row was made.';
comment on column crm.deals.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.deals', has_readers => true);

create table crm.deal_contacts (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    deal_id uuid,
    deal_remote_id text collate "C",
    contact_id uuid,
    contact_remote_id text collate "C",
    role text,
    is_primary boolean,
    added_at timestamptz,
    attributes jsonb not null default '{}',
    remote_created_at timestamptz,
    changed_at timestamptz,
    synced_at timestamptz,
    deleted_at timestamptz,
    deletion_reason text,
    merged_into_remote_id text collate "C",
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint deal_contacts_pkey primary key (id),
    constraint deal_contacts_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint deal_contacts_tenant_id_id_key unique (tenant_id, id),
    constraint deal_contacts_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint deal_contacts_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint deal_contacts_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint deal_contacts_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index deal_contacts_tenant_id_updated_at_idx on crm.deal_contacts (tenant_id, updated_at, id);
create index deal_contacts_deleted_idx
    on crm.deal_contacts (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index deal_contacts_part_of_idx
    on crm.deal_contacts (tenant_id, system, deal_remote_id);
create index deal_contacts_tenant_id_deal_id_idx
    on crm.deal_contacts (tenant_id, deal_id)
    where deal_id is not null;
create index deal_contacts_tenant_id_deal_remote_id_idx
    on crm.deal_contacts (tenant_id, deal_remote_id)
    where deal_id is null and deal_remote_id is not null;
create index deal_contacts_tenant_id_contact_id_idx
    on crm.deal_contacts (tenant_id, contact_id)
    where contact_id is not null;
create index deal_contacts_tenant_id_contact_remote_id_idx
    on crm.deal_contacts (tenant_id, contact_remote_id)
    where contact_id is null and contact_remote_id is not null;
comment on table crm.deal_contacts is
    'People who take part in a deal; the main person of each deal is always there, the others '
    'where the participants of deals are read: one row per tenant and deal and person in the '
    'system, and the rows that the app made.';
comment on column crm.deal_contacts.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.deal_contacts.tenant_id is
    'The tenant.';
comment on column crm.deal_contacts.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.deal_contacts.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.deal_contacts.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.deal_contacts.deal_id is
    'The row of crm.deals of the deal, or of the one that it was merged into; empty where there '
    'is none or it is not known.';
comment on column crm.deal_contacts.deal_remote_id is
    'Id in the system of the deal.';
comment on column crm.deal_contacts.contact_id is
    'The row of crm.contacts of the person, or of the one that it was merged into; empty where '
    'there is none or it is not known.';
comment on column crm.deal_contacts.contact_remote_id is
    'Id in the system of the person.';
comment on column crm.deal_contacts.role is
    'Role of the person in the deal, where the system has one.';
comment on column crm.deal_contacts.is_primary is
    'Whether it is the main person of the deal.';
comment on column crm.deal_contacts.added_at is
    'When the person was added, where the source says so.';
comment on column crm.deal_contacts.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.deal_contacts.remote_created_at is
    'When the record was made in the system.';
comment on column crm.deal_contacts.changed_at is
    'When the record was last changed in the system.';
comment on column crm.deal_contacts.synced_at is
    'When a sync last wrote this row.';
comment on column crm.deal_contacts.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.deal_contacts.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.deal_contacts.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.deal_contacts.created_at is
    'When this row was made.';
comment on column crm.deal_contacts.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.deal_contacts', has_readers => true);

create table crm.deal_stage_history (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    deal_id uuid,
    deal_remote_id text collate "C",
    stage_id uuid,
    stage_remote_id text collate "C",
    pipeline_id uuid,
    pipeline_remote_id text collate "C",
    changed_by_id uuid,
    changed_by_remote_id text collate "C",
    entered_at timestamptz,
    left_at timestamptz,
    entered_at_is_exact boolean,
    left_at_is_exact boolean,
    open_seconds bigint,
    statuses jsonb not null default '[]',
    last_status text,
    is_last_in_stage boolean,
    stage_open_seconds bigint,
    stages_visited text[] not null default '{}',
    won_at timestamptz,
    lost_at timestamptz,
    reopened_at timestamptz,
    amount numeric,
    currency text,
    probability numeric,
    origin text,
    attributes jsonb not null default '{}',
    remote_created_at timestamptz,
    changed_at timestamptz,
    synced_at timestamptz,
    deleted_at timestamptz,
    deletion_reason text,
    merged_into_remote_id text collate "C",
    seconds bigint generated always as (
        extract(epoch from left_at - entered_at)::bigint
    ) stored,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint deal_stage_history_pkey primary key (id),
    constraint deal_stage_history_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint deal_stage_history_tenant_id_id_key unique (tenant_id, id),
    constraint deal_stage_history_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint deal_stage_history_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint deal_stage_history_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint deal_stage_history_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index deal_stage_history_tenant_id_updated_at_idx on crm.deal_stage_history (tenant_id, updated_at, id);
create index deal_stage_history_deleted_idx
    on crm.deal_stage_history (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index deal_stage_history_part_of_idx
    on crm.deal_stage_history (tenant_id, system, deal_remote_id);
create index deal_stage_history_tenant_id_deal_id_idx
    on crm.deal_stage_history (tenant_id, deal_id)
    where deal_id is not null;
create index deal_stage_history_tenant_id_deal_remote_id_idx
    on crm.deal_stage_history (tenant_id, deal_remote_id)
    where deal_id is null and deal_remote_id is not null;
create index deal_stage_history_tenant_id_stage_id_idx
    on crm.deal_stage_history (tenant_id, stage_id)
    where stage_id is not null;
create index deal_stage_history_tenant_id_stage_remote_id_idx
    on crm.deal_stage_history (tenant_id, stage_remote_id)
    where stage_id is null and stage_remote_id is not null;
create index deal_stage_history_durations_idx
    on crm.deal_stage_history (tenant_id, stage_id, stage_open_seconds)
    where is_last_in_stage and deleted_at is null and stage_id is not null;
create index deal_stage_history_ways_idx
    on crm.deal_stage_history (tenant_id, system, stages_visited, last_status)
    where left_at is null and deleted_at is null;
create index deal_stage_history_closings_idx
    on crm.deal_stage_history (tenant_id, deal_id, pipeline_id, won_at, lost_at, reopened_at)
    where (won_at is not null or lost_at is not null) and deleted_at is null;
comment on table crm.deal_stage_history is
    'Visits of deals to stages: a deal that comes back to a stage has two rows; winning, losing '
    'and reopening a deal are in the row of the stage that it was in: one row per tenant and deal'
    ' and visit of a stage, and the rows that the app made.';
comment on column crm.deal_stage_history.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.deal_stage_history.tenant_id is
    'The tenant.';
comment on column crm.deal_stage_history.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.deal_stage_history.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.deal_stage_history.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.deal_stage_history.deal_id is
    'The row of crm.deals of the deal, or of the one that it was merged into; empty where there '
    'is none or it is not known.';
comment on column crm.deal_stage_history.deal_remote_id is
    'Id in the system of the deal.';
comment on column crm.deal_stage_history.stage_id is
    'The row of crm.stages of the stage, or of the one that it was merged into; empty where there'
    ' is none or it is not known.';
comment on column crm.deal_stage_history.stage_remote_id is
    'Id in the system of the stage.';
comment on column crm.deal_stage_history.pipeline_id is
    'The row of crm.pipelines of the pipeline in which the stage was then, or of the one that it '
    'was merged into; empty where there is none or it is not known.';
comment on column crm.deal_stage_history.pipeline_remote_id is
    'Id in the system of the pipeline in which the stage was then.';
comment on column crm.deal_stage_history.changed_by_id is
    'The row of crm.users of the user who moved the deal to the stage, where it is known, or of '
    'the one that it was merged into; empty where there is none or it is not known.';
comment on column crm.deal_stage_history.changed_by_remote_id is
    'Id in the system of the user who moved the deal to the stage, where it is known.';
comment on column crm.deal_stage_history.entered_at is
    'When the deal came into the stage; where entered_at_is_exact is false, the latest possible '
    'time.';
comment on column crm.deal_stage_history.left_at is
    'When it left the stage: the next entered_at; empty while it is there, also if it is closed.';
comment on column crm.deal_stage_history.entered_at_is_exact is
    'Whether the source itself gives entered_at.';
comment on column crm.deal_stage_history.left_at_is_exact is
    'Whether left_at is the time of leaving. False where the deal is known to have been elsewhere'
    ' before the next visit (it came back to this stage between two reads), or where the next '
    'entered_at is not exact: then it left at left_at or earlier. Empty while it is in the stage.';
comment on column crm.deal_stage_history.open_seconds is
    'Seconds of the visit in which the deal was open; empty while it is open and in the stage. A '
    'visit in which it was closed all the time has 0.';
comment on column crm.deal_stage_history.statuses is
    'Statuses during the visit in order: [{"status": "open", "at": "…", "is_exact": true, '
    '"is_change": false}, {"status": "won", …}]; the first is the one that the deal came with, '
    'and is no change. They tell the status at any time, and each entry that is a change to won '
    'is a win: also where a deal was won, reopened and won again in one stage. View '
    'won_lost_monthly counts them by month.';
comment on column crm.deal_stage_history.last_status is
    'Status of the deal when it left the stage; while it is there, its status now.';
comment on column crm.deal_stage_history.is_last_in_stage is
    'Whether it is the deal''s last visit of this stage; these rows count each deal once in each '
    'of its stages.';
comment on column crm.deal_stage_history.stage_open_seconds is
    'In the deal''s last visit of the stage: seconds in which it was open there, all its visits '
    'together; empty in the others, and while it is open and in the stage.';
comment on column crm.deal_stage_history.stages_visited is
    'In the deal''s last visit of all: the remote ids of the stages that it was in, each once, '
    'sorted; empty in the others.';
comment on column crm.deal_stage_history.won_at is
    'When it was last won during this visit; stays when it is reopened, while deals.won_at is '
    'empty then. Every win is in statuses.';
comment on column crm.deal_stage_history.lost_at is
    'When it was last lost during this visit; stays when it is reopened.';
comment on column crm.deal_stage_history.reopened_at is
    'When it was last reopened during this visit; the latest possible time unless the entry in '
    'statuses is exact.';
comment on column crm.deal_stage_history.amount is
    'Value of the deal when it came into the stage; where the system''s own history is not read, '
    'when the visit was first read.';
comment on column crm.deal_stage_history.currency is
    'Currency of the amounts of this row, ISO 4217; never add up two currencies.';
comment on column crm.deal_stage_history.probability is
    'Chance in percent that the deal is won, when it came into the stage; only where the '
    'system''s own history has it.';
comment on column crm.deal_stage_history.origin is
    'How the visit is known. seeded: from the first read of the deal, and what was before is not '
    'known unless entered_at is when the deal was made. diff: from the difference between two '
    'reads, so moves in between are not known. webhook: from a message of the source. '
    'source_history: from the source''s own history, which has every move.';
comment on column crm.deal_stage_history.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.deal_stage_history.remote_created_at is
    'When the record was made in the system.';
comment on column crm.deal_stage_history.changed_at is
    'When the record was last changed in the system.';
comment on column crm.deal_stage_history.synced_at is
    'When a sync last wrote this row.';
comment on column crm.deal_stage_history.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.deal_stage_history.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.deal_stage_history.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.deal_stage_history.seconds is
    'Seconds from entered_at to left_at; empty while the deal is in the stage.';
comment on column crm.deal_stage_history.created_at is
    'When this row was made.';
comment on column crm.deal_stage_history.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.deal_stage_history', has_readers => true);

create table crm.deal_products (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    deal_id uuid,
    deal_remote_id text collate "C",
    product_id uuid,
    product_remote_id text collate "C",
    name text,
    variation_remote_id text collate "C",
    quantity numeric,
    unit_price numeric,
    currency text,
    discount numeric,
    discount_type text,
    tax numeric,
    tax_method text,
    total numeric,
    billing_frequency text,
    billing_cycles bigint,
    starts_on date,
    is_enabled boolean,
    sort bigint,
    comments text,
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
    constraint deal_products_pkey primary key (id),
    constraint deal_products_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint deal_products_tenant_id_id_key unique (tenant_id, id),
    constraint deal_products_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint deal_products_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint deal_products_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint deal_products_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index deal_products_tenant_id_updated_at_idx on crm.deal_products (tenant_id, updated_at, id);
create index deal_products_deleted_idx
    on crm.deal_products (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index deal_products_tenant_id_pipedrive_id_idx
    on crm.deal_products (tenant_id, pipedrive_id)
    where pipedrive_id is not null;
create index deal_products_tenant_id_deal_id_idx
    on crm.deal_products (tenant_id, deal_id)
    where deal_id is not null;
create index deal_products_tenant_id_deal_remote_id_idx
    on crm.deal_products (tenant_id, deal_remote_id)
    where deal_id is null and deal_remote_id is not null;
create index deal_products_tenant_id_product_id_idx
    on crm.deal_products (tenant_id, product_id)
    where product_id is not null;
create index deal_products_tenant_id_product_remote_id_idx
    on crm.deal_products (tenant_id, product_remote_id)
    where product_id is null and product_remote_id is not null;
comment on table crm.deal_products is
    'Products on deals: the lines of a deal: one row per tenant and line of a deal in the system,'
    ' and the rows that the app made.';
comment on column crm.deal_products.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.deal_products.tenant_id is
    'The tenant.';
comment on column crm.deal_products.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.deal_products.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.deal_products.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.deal_products.deal_id is
    'The row of crm.deals of the deal, or of the one that it was merged into; empty where there '
    'is none or it is not known.';
comment on column crm.deal_products.deal_remote_id is
    'Id in the system of the deal.';
comment on column crm.deal_products.product_id is
    'The row of crm.products of the product, or of the one that it was merged into; empty where '
    'there is none or it is not known.';
comment on column crm.deal_products.product_remote_id is
    'Id in the system of the product.';
comment on column crm.deal_products.name is
    'Name of the product on this line; may differ from the product''s name.';
comment on column crm.deal_products.variation_remote_id is
    'Id in the system of the variation of the product.';
comment on column crm.deal_products.quantity is
    'How many are sold.';
comment on column crm.deal_products.unit_price is
    'Price of one, in the currency of this row.';
comment on column crm.deal_products.currency is
    'Currency of the amounts of this row, ISO 4217; never add up two currencies.';
comment on column crm.deal_products.discount is
    'Discount on the line: a percentage or an amount, see discount_type.';
comment on column crm.deal_products.discount_type is
    'percent or amount.';
comment on column crm.deal_products.tax is
    'Tax in percent.';
comment on column crm.deal_products.tax_method is
    'exclusive, inclusive or none, as the source names it.';
comment on column crm.deal_products.total is
    'Sum of the line after its discount, and with tax where the tax is exclusive, in the currency'
    ' of this row.';
comment on column crm.deal_products.billing_frequency is
    'How often it is billed, as the source names it, such as monthly.';
comment on column crm.deal_products.billing_cycles is
    'How many times it is billed; empty: once, or without an end.';
comment on column crm.deal_products.starts_on is
    'First day of billing.';
comment on column crm.deal_products.is_enabled is
    'Whether the line counts into the value of the deal.';
comment on column crm.deal_products.sort is
    'Place in the order of the source, ascending; has gaps.';
comment on column crm.deal_products.comments is
    'Comments on the line.';
comment on column crm.deal_products.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.deal_products.remote_created_at is
    'When the record was made in the system.';
comment on column crm.deal_products.changed_at is
    'When the record was last changed in the system.';
comment on column crm.deal_products.synced_at is
    'When a sync last wrote this row.';
comment on column crm.deal_products.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.deal_products.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.deal_products.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.deal_products.pipedrive_id is
    'Id of the record in Pipedrive as a number; empty for rows of other systems and of the app.';
comment on column crm.deal_products.created_at is
    'When this row was made.';
comment on column crm.deal_products.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.deal_products', has_readers => true);

create table crm.activities (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    customer_id uuid,
    customer_remote_id text collate "C",
    contact_id uuid,
    contact_remote_id text collate "C",
    deal_id uuid,
    deal_remote_id text collate "C",
    lead_id uuid,
    lead_remote_id text collate "C",
    owner_id uuid,
    owner_remote_id text collate "C",
    creator_id uuid,
    creator_remote_id text collate "C",
    kind text,
    remote_kind text,
    subject text,
    body text,
    location text,
    due_date date,
    starts_at timestamptz,
    ends_at timestamptz,
    duration interval,
    all_day boolean,
    done boolean,
    done_at timestamptz,
    outcome text,
    priority text,
    busy boolean,
    conference_url text,
    calendar_event_id text,
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
    constraint activities_pkey primary key (id),
    constraint activities_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint activities_tenant_id_id_key unique (tenant_id, id),
    constraint activities_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint activities_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint activities_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint activities_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index activities_tenant_id_updated_at_idx on crm.activities (tenant_id, updated_at, id);
create index activities_deleted_idx
    on crm.activities (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index activities_tenant_id_pipedrive_id_idx
    on crm.activities (tenant_id, pipedrive_id)
    where pipedrive_id is not null;
create index activities_tenant_id_customer_id_idx
    on crm.activities (tenant_id, customer_id)
    where customer_id is not null;
create index activities_tenant_id_customer_remote_id_idx
    on crm.activities (tenant_id, customer_remote_id)
    where customer_id is null and customer_remote_id is not null;
create index activities_tenant_id_contact_id_idx
    on crm.activities (tenant_id, contact_id)
    where contact_id is not null;
create index activities_tenant_id_contact_remote_id_idx
    on crm.activities (tenant_id, contact_remote_id)
    where contact_id is null and contact_remote_id is not null;
create index activities_tenant_id_deal_id_idx
    on crm.activities (tenant_id, deal_id)
    where deal_id is not null;
create index activities_tenant_id_deal_remote_id_idx
    on crm.activities (tenant_id, deal_remote_id)
    where deal_id is null and deal_remote_id is not null;
create index activities_tenant_id_lead_id_idx
    on crm.activities (tenant_id, lead_id)
    where lead_id is not null;
create index activities_tenant_id_lead_remote_id_idx
    on crm.activities (tenant_id, lead_remote_id)
    where lead_id is null and lead_remote_id is not null;
comment on table crm.activities is
    'Meetings, calls, tasks, e-mails and deadlines, done or planned: one row per tenant and '
    'activity in the system, and the rows that the app made.';
comment on column crm.activities.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.activities.tenant_id is
    'The tenant.';
comment on column crm.activities.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.activities.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.activities.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.activities.customer_id is
    'The row of crm.customers of the company, or of the one that it was merged into; empty where '
    'there is none or it is not known.';
comment on column crm.activities.customer_remote_id is
    'Id in the system of the company.';
comment on column crm.activities.contact_id is
    'The row of crm.contacts of the main person, or of the one that it was merged into; empty '
    'where there is none or it is not known.';
comment on column crm.activities.contact_remote_id is
    'Id in the system of the main person.';
comment on column crm.activities.deal_id is
    'The row of crm.deals of the deal, or of the one that it was merged into; empty where there '
    'is none or it is not known.';
comment on column crm.activities.deal_remote_id is
    'Id in the system of the deal.';
comment on column crm.activities.lead_id is
    'The row of crm.leads of the lead, or of the one that it was merged into; empty where there '
    'is none or it is not known.';
comment on column crm.activities.lead_remote_id is
    'Id in the system of the lead.';
comment on column crm.activities.owner_id is
    'The row of crm.users of the user who owns the activity, or of the one that it was merged '
    'into; empty where there is none or it is not known.';
comment on column crm.activities.owner_remote_id is
    'Id in the system of the user who owns the activity.';
comment on column crm.activities.creator_id is
    'The row of crm.users of the user who made the activity, or of the one that it was merged '
    'into; empty where there is none or it is not known.';
comment on column crm.activities.creator_remote_id is
    'Id in the system of the user who made the activity.';
comment on column crm.activities.kind is
    'meeting, call, task, email, deadline or other; made from remote_kind.';
comment on column crm.activities.remote_kind is
    'Type of the activity in the system, by its key.';
comment on column crm.activities.subject is
    'Subject.';
comment on column crm.activities.body is
    'Notes on the activity, HTML as sent.';
comment on column crm.activities.location is
    'Where it takes place.';
comment on column crm.activities.due_date is
    'Day on which it is due; in UTC where it has a time.';
comment on column crm.activities.starts_at is
    'When it begins; empty if only a day was given.';
comment on column crm.activities.ends_at is
    'When it ends; empty if no time or no duration was given.';
comment on column crm.activities.duration is
    'How long it takes.';
comment on column crm.activities.all_day is
    'Whether a day without a time was given.';
comment on column crm.activities.done is
    'Whether it is done.';
comment on column crm.activities.done_at is
    'When it was marked as done.';
comment on column crm.activities.outcome is
    'Outcome by name; the option''s id where its name is not known.';
comment on column crm.activities.priority is
    'Priority by name; the option''s id where its name is not known.';
comment on column crm.activities.busy is
    'Whether the owner is busy during it.';
comment on column crm.activities.conference_url is
    'Address of the online meeting.';
comment on column crm.activities.calendar_event_id is
    'Id of the event in the calendar, where the source gives it.';
comment on column crm.activities.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.activities.remote_created_at is
    'When the record was made in the system.';
comment on column crm.activities.changed_at is
    'When the record was last changed in the system.';
comment on column crm.activities.synced_at is
    'When a sync last wrote this row.';
comment on column crm.activities.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.activities.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.activities.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.activities.pipedrive_id is
    'Id of the record in Pipedrive as a number; empty for rows of other systems and of the app.';
comment on column crm.activities.created_at is
    'When this row was made.';
comment on column crm.activities.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.activities', has_readers => true);

create table crm.notes (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    system text,
    remote_id text collate "C",
    former_remote_id text collate "C",
    customer_id uuid,
    customer_remote_id text collate "C",
    contact_id uuid,
    contact_remote_id text collate "C",
    deal_id uuid,
    deal_remote_id text collate "C",
    lead_id uuid,
    lead_remote_id text collate "C",
    author_id uuid,
    author_remote_id text collate "C",
    body text,
    body_text text,
    noted_on text,
    pinned_to text[] not null default '{}',
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
    constraint notes_pkey primary key (id),
    constraint notes_tenant_id_system_remote_id_key
        unique (tenant_id, system, remote_id),
    constraint notes_tenant_id_id_key unique (tenant_id, id),
    constraint notes_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint notes_system_check check (
        (system is null) = (remote_id is null and former_remote_id is null)
    ),
    constraint notes_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'converted', 'invisible', 'company_changed')
    ),
    constraint notes_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index notes_tenant_id_updated_at_idx on crm.notes (tenant_id, updated_at, id);
create index notes_deleted_idx
    on crm.notes (tenant_id, system, remote_id)
    include (merged_into_remote_id)
    where deleted_at is not null;
create index notes_tenant_id_pipedrive_id_idx
    on crm.notes (tenant_id, pipedrive_id)
    where pipedrive_id is not null;
create index notes_tenant_id_customer_id_idx
    on crm.notes (tenant_id, customer_id)
    where customer_id is not null;
create index notes_tenant_id_customer_remote_id_idx
    on crm.notes (tenant_id, customer_remote_id)
    where customer_id is null and customer_remote_id is not null;
create index notes_tenant_id_contact_id_idx
    on crm.notes (tenant_id, contact_id)
    where contact_id is not null;
create index notes_tenant_id_contact_remote_id_idx
    on crm.notes (tenant_id, contact_remote_id)
    where contact_id is null and contact_remote_id is not null;
create index notes_tenant_id_deal_id_idx
    on crm.notes (tenant_id, deal_id)
    where deal_id is not null;
create index notes_tenant_id_deal_remote_id_idx
    on crm.notes (tenant_id, deal_remote_id)
    where deal_id is null and deal_remote_id is not null;
create index notes_tenant_id_lead_id_idx
    on crm.notes (tenant_id, lead_id)
    where lead_id is not null;
create index notes_tenant_id_lead_remote_id_idx
    on crm.notes (tenant_id, lead_remote_id)
    where lead_id is null and lead_remote_id is not null;
comment on table crm.notes is
    'Notes on deals, leads, people and companies; a note is one row, whatever it is linked to: '
    'one row per tenant and note in the system, and the rows that the app made.';
comment on column crm.notes.id is
    'Our id of the row; stays the same through full resyncs and reconnects.';
comment on column crm.notes.tenant_id is
    'The tenant.';
comment on column crm.notes.system is
    'The CRM that the row came from; empty for rows that the app made.';
comment on column crm.notes.remote_id is
    'Id of the record in that system; empty for rows that the app made.';
comment on column crm.notes.former_remote_id is
    'Id of the record in an account of that system that the tenant was connected to before.';
comment on column crm.notes.customer_id is
    'The row of crm.customers of the company, or of the one that it was merged into; empty where '
    'there is none or it is not known.';
comment on column crm.notes.customer_remote_id is
    'Id in the system of the company.';
comment on column crm.notes.contact_id is
    'The row of crm.contacts of the person, or of the one that it was merged into; empty where '
    'there is none or it is not known.';
comment on column crm.notes.contact_remote_id is
    'Id in the system of the person.';
comment on column crm.notes.deal_id is
    'The row of crm.deals of the deal, or of the one that it was merged into; empty where there '
    'is none or it is not known.';
comment on column crm.notes.deal_remote_id is
    'Id in the system of the deal.';
comment on column crm.notes.lead_id is
    'The row of crm.leads of the lead, or of the one that it was merged into; empty where there '
    'is none or it is not known.';
comment on column crm.notes.lead_remote_id is
    'Id in the system of the lead.';
comment on column crm.notes.author_id is
    'The row of crm.users of the user who wrote the note, or of the one that it was merged into; '
    'empty where there is none or it is not known.';
comment on column crm.notes.author_remote_id is
    'Id in the system of the user who wrote the note.';
comment on column crm.notes.body is
    'Text of the note, HTML as sent.';
comment on column crm.notes.body_text is
    'Text of the note without HTML.';
comment on column crm.notes.noted_on is
    'Kind of record that the note was made for: the first of deal, lead, contact, customer that '
    'it is linked to. In Pipedrive a note on a deal has the deal''s person and company too.';
comment on column crm.notes.pinned_to is
    'Kinds of record that it is pinned to: deal, lead, contact, customer.';
comment on column crm.notes.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.notes.remote_created_at is
    'When the record was made in the system.';
comment on column crm.notes.changed_at is
    'When the record was last changed in the system.';
comment on column crm.notes.synced_at is
    'When a sync last wrote this row.';
comment on column crm.notes.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is '
    'there.';
comment on column crm.notes.deletion_reason is
    'deleted: it is gone from the source; merged: see merged_into_remote_id; converted: it became'
    ' another kind of record; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another account of the system.';
comment on column crm.notes.merged_into_remote_id is
    'The remote_id that it was merged into.';
comment on column crm.notes.pipedrive_id is
    'Id of the record in Pipedrive as a number; empty for rows of other systems and of the app.';
comment on column crm.notes.created_at is
    'When this row was made.';
comment on column crm.notes.updated_at is
    'When this row was last written; follow changes by it.';
select integration.isolate('crm.notes', has_readers => true);

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
alter table crm.stages
    add constraint stages_pipeline_id_fkey foreign key (tenant_id, pipeline_id)
    references crm.pipelines (tenant_id, id)
    on delete set null (pipeline_id) deferrable;
alter table crm.products
    add constraint products_owner_id_fkey foreign key (tenant_id, owner_id)
    references crm.users (tenant_id, id)
    on delete set null (owner_id) deferrable;
alter table crm.product_prices
    add constraint product_prices_product_id_fkey foreign key (tenant_id, product_id)
    references crm.products (tenant_id, id)
    on delete set null (product_id) deferrable;
alter table crm.leads
    add constraint leads_customer_id_fkey foreign key (tenant_id, customer_id)
    references crm.customers (tenant_id, id)
    on delete set null (customer_id) deferrable;
alter table crm.leads
    add constraint leads_contact_id_fkey foreign key (tenant_id, contact_id)
    references crm.contacts (tenant_id, id)
    on delete set null (contact_id) deferrable;
alter table crm.leads
    add constraint leads_owner_id_fkey foreign key (tenant_id, owner_id)
    references crm.users (tenant_id, id)
    on delete set null (owner_id) deferrable;
alter table crm.leads
    add constraint leads_creator_id_fkey foreign key (tenant_id, creator_id)
    references crm.users (tenant_id, id)
    on delete set null (creator_id) deferrable;
alter table crm.leads
    add constraint leads_converted_deal_id_fkey foreign key (tenant_id, converted_deal_id)
    references crm.deals (tenant_id, id)
    on delete set null (converted_deal_id) deferrable;
alter table crm.leads
    add constraint leads_source_deal_id_fkey foreign key (tenant_id, source_deal_id)
    references crm.deals (tenant_id, id)
    on delete set null (source_deal_id) deferrable;
alter table crm.deals
    add constraint deals_customer_id_fkey foreign key (tenant_id, customer_id)
    references crm.customers (tenant_id, id)
    on delete set null (customer_id) deferrable;
alter table crm.deals
    add constraint deals_contact_id_fkey foreign key (tenant_id, contact_id)
    references crm.contacts (tenant_id, id)
    on delete set null (contact_id) deferrable;
alter table crm.deals
    add constraint deals_owner_id_fkey foreign key (tenant_id, owner_id)
    references crm.users (tenant_id, id)
    on delete set null (owner_id) deferrable;
alter table crm.deals
    add constraint deals_creator_id_fkey foreign key (tenant_id, creator_id)
    references crm.users (tenant_id, id)
    on delete set null (creator_id) deferrable;
alter table crm.deals
    add constraint deals_pipeline_id_fkey foreign key (tenant_id, pipeline_id)
    references crm.pipelines (tenant_id, id)
    on delete set null (pipeline_id) deferrable;
alter table crm.deals
    add constraint deals_stage_id_fkey foreign key (tenant_id, stage_id)
    references crm.stages (tenant_id, id)
    on delete set null (stage_id) deferrable;
alter table crm.deals
    add constraint deals_lead_id_fkey foreign key (tenant_id, lead_id)
    references crm.leads (tenant_id, id)
    on delete set null (lead_id) deferrable;
alter table crm.deals
    add constraint deals_converted_lead_id_fkey foreign key (tenant_id, converted_lead_id)
    references crm.leads (tenant_id, id)
    on delete set null (converted_lead_id) deferrable;
alter table crm.deal_contacts
    add constraint deal_contacts_deal_id_fkey foreign key (tenant_id, deal_id)
    references crm.deals (tenant_id, id)
    on delete set null (deal_id) deferrable;
alter table crm.deal_contacts
    add constraint deal_contacts_contact_id_fkey foreign key (tenant_id, contact_id)
    references crm.contacts (tenant_id, id)
    on delete set null (contact_id) deferrable;
alter table crm.deal_stage_history
    add constraint deal_stage_history_deal_id_fkey foreign key (tenant_id, deal_id)
    references crm.deals (tenant_id, id)
    on delete set null (deal_id) deferrable;
alter table crm.deal_stage_history
    add constraint deal_stage_history_stage_id_fkey foreign key (tenant_id, stage_id)
    references crm.stages (tenant_id, id)
    on delete set null (stage_id) deferrable;
alter table crm.deal_stage_history
    add constraint deal_stage_history_pipeline_id_fkey foreign key (tenant_id, pipeline_id)
    references crm.pipelines (tenant_id, id)
    on delete set null (pipeline_id) deferrable;
alter table crm.deal_stage_history
    add constraint deal_stage_history_changed_by_id_fkey foreign key (tenant_id, changed_by_id)
    references crm.users (tenant_id, id)
    on delete set null (changed_by_id) deferrable;
alter table crm.deal_products
    add constraint deal_products_deal_id_fkey foreign key (tenant_id, deal_id)
    references crm.deals (tenant_id, id)
    on delete set null (deal_id) deferrable;
alter table crm.deal_products
    add constraint deal_products_product_id_fkey foreign key (tenant_id, product_id)
    references crm.products (tenant_id, id)
    on delete set null (product_id) deferrable;
alter table crm.activities
    add constraint activities_customer_id_fkey foreign key (tenant_id, customer_id)
    references crm.customers (tenant_id, id)
    on delete set null (customer_id) deferrable;
alter table crm.activities
    add constraint activities_contact_id_fkey foreign key (tenant_id, contact_id)
    references crm.contacts (tenant_id, id)
    on delete set null (contact_id) deferrable;
alter table crm.activities
    add constraint activities_deal_id_fkey foreign key (tenant_id, deal_id)
    references crm.deals (tenant_id, id)
    on delete set null (deal_id) deferrable;
alter table crm.activities
    add constraint activities_lead_id_fkey foreign key (tenant_id, lead_id)
    references crm.leads (tenant_id, id)
    on delete set null (lead_id) deferrable;
alter table crm.activities
    add constraint activities_owner_id_fkey foreign key (tenant_id, owner_id)
    references crm.users (tenant_id, id)
    on delete set null (owner_id) deferrable;
alter table crm.activities
    add constraint activities_creator_id_fkey foreign key (tenant_id, creator_id)
    references crm.users (tenant_id, id)
    on delete set null (creator_id) deferrable;
alter table crm.notes
    add constraint notes_customer_id_fkey foreign key (tenant_id, customer_id)
    references crm.customers (tenant_id, id)
    on delete set null (customer_id) deferrable;
alter table crm.notes
    add constraint notes_contact_id_fkey foreign key (tenant_id, contact_id)
    references crm.contacts (tenant_id, id)
    on delete set null (contact_id) deferrable;
alter table crm.notes
    add constraint notes_deal_id_fkey foreign key (tenant_id, deal_id)
    references crm.deals (tenant_id, id)
    on delete set null (deal_id) deferrable;
alter table crm.notes
    add constraint notes_lead_id_fkey foreign key (tenant_id, lead_id)
    references crm.leads (tenant_id, id)
    on delete set null (lead_id) deferrable;
alter table crm.notes
    add constraint notes_author_id_fkey foreign key (tenant_id, author_id)
    references crm.users (tenant_id, id)
    on delete set null (author_id) deferrable;

create or replace function integration.live_rows(of_tenant text, of_system text, of_mart text)
returns bigint
language plpgsql stable
as $$
begin
    case of_mart
        when 'users' then
            return (
                select count(*)
                from crm.users as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.users as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'customers' then
            return (
                select count(*)
                from crm.customers as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.customers as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'contacts' then
            return (
                select count(*)
                from crm.contacts as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.contacts as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'pipelines' then
            return (
                select count(*)
                from crm.pipelines as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.pipelines as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'stages' then
            return (
                select count(*)
                from crm.stages as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.stages as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'products' then
            return (
                select count(*)
                from crm.products as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.products as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'product_prices' then
            return (
                select count(*)
                from crm.product_prices as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.product_prices as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'leads' then
            return (
                select count(*)
                from crm.leads as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.leads as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'deals' then
            return (
                select count(*)
                from crm.deals as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.deals as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'deal_contacts' then
            return (
                select count(*)
                from crm.deal_contacts as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.deal_contacts as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'deal_stage_history' then
            return (
                select count(*)
                from crm.deal_stage_history as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.deal_stage_history as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'deal_products' then
            return (
                select count(*)
                from crm.deal_products as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.deal_products as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'activities' then
            return (
                select count(*)
                from crm.activities as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.activities as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        when 'notes' then
            return (
                select count(*)
                from crm.notes as live
                where live.tenant_id = of_tenant
                    and live.system = of_system
                    and live.remote_id is not null
            ) - (
                select count(*)
                from crm.notes as gone
                where gone.tenant_id = of_tenant
                    and gone.system = of_system
                    and gone.remote_id is not null
                    and gone.deleted_at is not null
            );
        else return 0;
    end case;
end
$$;
comment on function integration.live_rows(text, text, text) is
    'Number of rows of a mart that are not marked as deleted; without the rows that the app made.';
