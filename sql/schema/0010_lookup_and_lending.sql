-- Look-up of callers, and access tokens for services that read a table.
-- What: the tenant's country; contact points of customers and contacts; exports of access tokens.
-- Reads: nothing.
-- Needs: 0003_tenants.sql, 0004_crm.sql, 0007_connect.sql.

alter table integration.tenants
    add column country text,
    add constraint tenants_country_check check (country ~ '^[A-Z]{2}$');
comment on column integration.tenants.country is
    'ISO 3166 code of the country in which phone numbers without a country code are; empty: the '
    'country of the connected account.';

alter table integration.connections add column company_country text;
comment on column integration.connections.company_country is
    'ISO 3166 code of the company''s country, where the system says so.';
do $$
begin
    execute format(
        'grant select (company_country) on integration.connections to %I',
        integration.role_name('app')
    );
end
$$;

alter table integration.pending_grants add column company_country text;
comment on column integration.pending_grants.company_country is
    'ISO 3166 code of that company''s country, where the system says so.';

create function integration.country_of(tenant text) returns text
language sql stable
as $$
    select coalesce(
        (select tenants.country from integration.tenants where tenants.slug = tenant),
        (
            select connections.company_country
            from integration.connections
            where connections.tenant_id = tenant
                and connections.company_country is not null
            order by connections.system asc
            limit 1
        )
    )
$$;
comment on function integration.country_of(text) is
    'The country in which a tenant''s phone numbers without a country code are; null if nobody said.';

create table crm.contact_points (
    id bigint generated always as identity,
    tenant_id text not null,
    customer_id uuid,
    contact_id uuid,
    kind text not null,
    entered text not null,
    value text collate "C",
    extension text,
    domain text collate "C",
    read_with text not null,
    constraint contact_points_pkey primary key (id),
    constraint contact_points_customer_id_fkey foreign key (tenant_id, customer_id)
        references crm.customers (tenant_id, id) on delete cascade,
    constraint contact_points_contact_id_fkey foreign key (tenant_id, contact_id)
        references crm.contacts (tenant_id, id) on delete cascade,
    constraint contact_points_kind_check check (kind in ('phone', 'email', 'website')),
    constraint contact_points_record_check check (num_nonnulls(customer_id, contact_id) = 1),
    constraint contact_points_extension_check check (extension is null or value is not null)
);
create index contact_points_value_idx
    on crm.contact_points (tenant_id, value)
    where value is not null;
create index contact_points_domain_idx
    on crm.contact_points (tenant_id, domain)
    where domain is not null;
create index contact_points_unreadable_idx
    on crm.contact_points (tenant_id, id)
    where value is null;
create index contact_points_customer_id_idx
    on crm.contact_points (tenant_id, customer_id)
    where customer_id is not null;
create index contact_points_contact_id_idx
    on crm.contact_points (tenant_id, contact_id)
    where contact_id is not null;
comment on table crm.contact_points is
    'Phone numbers, e-mail addresses and websites of customers and contacts in one form each, for the '
    'look-up: one row per record, kind and text that was entered. Kept by the build of the marts; goes '
    'with its record.';
comment on column crm.contact_points.id is
    'Number of the row; a changed text gets a new one.';
comment on column crm.contact_points.tenant_id is
    'The tenant.';
comment on column crm.contact_points.customer_id is
    'The customer (crm.customers.id) that has it; empty if a contact has it.';
comment on column crm.contact_points.contact_id is
    'The contact (crm.contacts.id) who has it; empty if a customer has it.';
comment on column crm.contact_points.kind is
    'phone, email or website.';
comment on column crm.contact_points.entered is
    'The text as the record has it.';
comment on column crm.contact_points.value is
    'A phone number in E.164 without its extension, an e-mail address in lower case, or the domain of '
    'a website; empty if the text is none.';
comment on column crm.contact_points.extension is
    'Extension of the phone number; empty if it has none.';
comment on column crm.contact_points.domain is
    'Domain of the e-mail address or website, in ASCII; empty for a domain of a free mail service.';
comment on column crm.contact_points.read_with is
    'Version of the rules, and the country, that the text was read with.';
select integration.isolate('crm.contact_points', has_readers => true);

create table integration.token_exports (
    tenant_id text not null,
    system text not null,
    table_schema text not null,
    table_name text not null,
    external_id uuid not null,
    started_by text not null,
    started_at timestamptz not null default now(),
    is_ending boolean not null default false,
    failed_at timestamptz,
    reason text,
    constraint token_exports_pkey primary key (tenant_id, system),
    constraint token_exports_row_key unique (table_schema, table_name, external_id),
    constraint token_exports_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete restrict,
    constraint token_exports_failed_check check ((failed_at is null) = (reason is null))
);
comment on table integration.token_exports is
    'Tenants whose access token is kept fresh in a table that another service reads; see '
    'docs/lending.md.';
comment on column integration.token_exports.tenant_id is
    'The tenant.';
comment on column integration.token_exports.system is
    'Key of the CRM.';
comment on column integration.token_exports.table_schema is
    'Schema of the table.';
comment on column integration.token_exports.table_name is
    'Name of the table; `tokens export` made it.';
comment on column integration.token_exports.external_id is
    'The tenant''s external id when the export was started: tenant_id of its row there.';
comment on column integration.token_exports.started_by is
    'Who started it.';
comment on column integration.token_exports.started_at is
    'When that was.';
comment on column integration.token_exports.is_ending is
    'True while the row in the table could not be removed yet; the sensor tries again.';
comment on column integration.token_exports.failed_at is
    'When the row could not be written or removed; empty once it could.';
comment on column integration.token_exports.reason is
    'Why not, without secrets.';
select integration.isolate('integration.token_exports');
