-- Customers and contacts.
-- What: the marts of all tenants; the app's own rows and columns may stand beside ours.
-- Reads: nothing.
-- Needs: 0003_tenants.sql.
--
-- A row with pipedrive_id belongs to the sync; one with neither pipedrive_id nor
-- former_pipedrive_id was made by the app and is never touched. A tenant with rows here cannot be
-- removed by accident: erasing is an act of its own.

create table crm.customers (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    pipedrive_id bigint,
    former_pipedrive_id bigint,
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
    owner_id bigint,
    owner_name text,
    labels text[] not null default '{}',
    attributes jsonb not null default '{}',
    changed_at timestamptz,
    pipedrive_created_at timestamptz,
    pipedrive_synced_at timestamptz,
    deleted_at timestamptz,
    deletion_reason text,
    merged_into bigint,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint customers_pkey primary key (id),
    constraint customers_tenant_id_pipedrive_id_key unique (tenant_id, pipedrive_id),
    constraint customers_tenant_id_id_key unique (tenant_id, id),
    constraint customers_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint customers_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'invisible', 'company_changed')
    ),
    constraint customers_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index customers_tenant_id_updated_at_idx on crm.customers (tenant_id, updated_at, id);
create index customers_deleted_idx
    on crm.customers (tenant_id, pipedrive_id)
    include (merged_into)
    where deleted_at is not null;
comment on table crm.customers is
    'Companies that a tenant does business with: one row per tenant and Pipedrive organization, '
    'and whatever rows the app made itself.';
comment on column crm.customers.id is
    'Our id of the customer; stays the same through full resyncs and reconnects.';
comment on column crm.customers.tenant_id is
    'The tenant.';
comment on column crm.customers.pipedrive_id is
    'Id of the organization in Pipedrive; empty for rows that the app made.';
comment on column crm.customers.former_pipedrive_id is
    'Id of the organization in a Pipedrive company that the tenant was connected to before.';
comment on column crm.customers.name is
    'Name of the organization.';
comment on column crm.customers.street is
    'Street and house number, from the parts of the address.';
comment on column crm.customers.city is
    'City (locality), from the parts of the address.';
comment on column crm.customers.postal_code is
    'Postal code, from the parts of the address.';
comment on column crm.customers.region is
    'State or region (admin_area_level_1), from the parts of the address.';
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
    'Annual revenue, in the currency of the Pipedrive company.';
comment on column crm.customers.employee_count is
    'Number of employees.';
comment on column crm.customers.owner_id is
    'Id of the Pipedrive user who owns the organization.';
comment on column crm.customers.owner_name is
    'Name of that user; empty where the user is not known any more.';
comment on column crm.customers.labels is
    'Names of the labels, in the order of the source, also of labels that are gone; the id where no '
    'name was ever known.';
comment on column crm.customers.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.customers.changed_at is
    'When the organization was last changed in Pipedrive.';
comment on column crm.customers.pipedrive_created_at is
    'When the organization was made in Pipedrive.';
comment on column crm.customers.pipedrive_synced_at is
    'When a sync last wrote this row.';
comment on column crm.customers.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is there.';
comment on column crm.customers.deletion_reason is
    'deleted; merged: see merged_into; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another Pipedrive company.';
comment on column crm.customers.merged_into is
    'The pipedrive_id that it was merged into.';
comment on column crm.customers.created_at is
    'When this row was made.';
comment on column crm.customers.updated_at is
    'When this row was last written; follow changes by it.';

create table crm.contacts (
    id uuid not null default gen_random_uuid(),
    tenant_id text not null,
    customer_id uuid,
    pipedrive_id bigint,
    former_pipedrive_id bigint,
    name text,
    first_name text,
    last_name text,
    email text,
    phone text,
    emails jsonb not null default '[]',
    phones jsonb not null default '[]',
    job_title text,
    owner_id bigint,
    owner_name text,
    labels text[] not null default '{}',
    attributes jsonb not null default '{}',
    changed_at timestamptz,
    pipedrive_created_at timestamptz,
    pipedrive_synced_at timestamptz,
    deleted_at timestamptz,
    deletion_reason text,
    merged_into bigint,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint contacts_pkey primary key (id),
    constraint contacts_tenant_id_pipedrive_id_key unique (tenant_id, pipedrive_id),
    constraint contacts_tenant_id_id_key unique (tenant_id, id),
    constraint contacts_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint contacts_customer_id_fkey foreign key (tenant_id, customer_id)
        references crm.customers (tenant_id, id) on delete set null (customer_id),
    constraint contacts_deletion_reason_check check (
        deletion_reason in ('deleted', 'merged', 'invisible', 'company_changed')
    ),
    constraint contacts_attributes_check check (jsonb_typeof(attributes) = 'object')
);
create index contacts_tenant_id_customer_id_idx on crm.contacts (tenant_id, customer_id);
create index contacts_tenant_id_updated_at_idx on crm.contacts (tenant_id, updated_at, id);
create index contacts_deleted_idx
    on crm.contacts (tenant_id, pipedrive_id)
    where deleted_at is not null;
comment on table crm.contacts is
    'People that a tenant knows: one row per tenant and Pipedrive person, and whatever rows the '
    'app made itself.';
comment on column crm.contacts.id is
    'Our id of the contact; stays the same through full resyncs and reconnects.';
comment on column crm.contacts.tenant_id is
    'The tenant.';
comment on column crm.contacts.customer_id is
    'The customer (crm.customers.id) of the person''s organization, or of the one that it was '
    'merged into; empty where the person has none or it is not known.';
comment on column crm.contacts.pipedrive_id is
    'Id of the person in Pipedrive; empty for rows that the app made.';
comment on column crm.contacts.former_pipedrive_id is
    'Id of the person in a Pipedrive company that the tenant was connected to before.';
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
    'All e-mail addresses that are not empty: [{"value": "…", "primary": true, "label": "work"}]; an '
    'entry that was sent as text has its value only.';
comment on column crm.contacts.phones is
    'All phone numbers that are not empty: [{"value": "…", "primary": true, "label": "work"}]; an '
    'entry that was sent as text has its value only.';
comment on column crm.contacts.job_title is
    'Job title.';
comment on column crm.contacts.owner_id is
    'Id of the Pipedrive user who owns the person.';
comment on column crm.contacts.owner_name is
    'Name of that user; empty where the user is not known any more.';
comment on column crm.contacts.labels is
    'Names of the labels, in the order of the source, also of labels that are gone; the id where no '
    'name was ever known.';
comment on column crm.contacts.attributes is
    'Mapped custom fields that have no column of their own, by name.';
comment on column crm.contacts.changed_at is
    'When the person was last changed in Pipedrive.';
comment on column crm.contacts.pipedrive_created_at is
    'When the person was made in Pipedrive.';
comment on column crm.contacts.pipedrive_synced_at is
    'When a sync last wrote this row.';
comment on column crm.contacts.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is there.';
comment on column crm.contacts.deletion_reason is
    'deleted; merged: see merged_into; invisible: the connected user may not see it any more; '
    'company_changed: the tenant connected another Pipedrive company.';
comment on column crm.contacts.merged_into is
    'The pipedrive_id that it was merged into.';
comment on column crm.contacts.created_at is
    'When this row was made.';
comment on column crm.contacts.updated_at is
    'When this row was last written; follow changes by it.';

select integration.isolate('crm.customers');
select integration.isolate('crm.contacts');
