-- What the CRM API reads by: words that a search finds, users that keys are bound to, indexes.
-- What: search_words; api_keys.crm_user_id; indexes and policies of the marts.
-- Reads: nothing.
-- Needs: 0004_crm.sql, 0007_connect.sql, sql/functions/bound_keys.sql.

-- An index uses it, so a change of its text needs a migration that makes the indexes again. No
-- sub-select: starting one for each row took ten times as long.
create function pipeline.search_words(tenant text, texts text, numbers text) returns tsvector
language plpgsql immutable parallel safe cost 10000 -- 14 microseconds: use the index
as $$
declare
    words text := regexp_replace(lower(left(texts, 4000)), '[^[:alnum:]]+', ' ', 'g');
    digits text := regexp_replace('"' || left(numbers, 1000), '[^0-9",]+', '', 'g');
begin
    words := btrim(regexp_replace(words, '([[:alnum:]]{60})[[:alnum:]]+', '\1', 'g'));
    digits := regexp_replace(digits, '[",]+0*', ' ', 'g');
    digits := btrim(regexp_replace(digits, ' +', ' ', 'g'));
    -- Each word is preceded by its tenant, so that a search reads the words of one tenant only.
    return array_to_tsvector(
        string_to_array(tenant || '/' || replace(words, ' ', ' ' || tenant || '/'), ' ')
        || string_to_array(tenant || '#' || replace(digits, ' ', ' ' || tenant || '#'), ' ')
        || string_to_array(
            tenant || '~' || replace(reverse(digits), ' ', ' ' || tenant || '~'), ' '
        )
    );
end
$$;
comment on function pipeline.search_words(text, text, text) is
    'The words of a row that a search finds: of its texts in lower case, and the digits of its telephone '
    'numbers without leading zeros, forwards (#) and backwards (~).';

alter table integration.api_keys
    add column crm_user_id uuid,
    add constraint api_keys_crm_user_id_fkey foreign key (tenant_id, crm_user_id)
        references crm.users (tenant_id, id) on delete cascade;
create index api_keys_crm_user_id_idx
    on integration.api_keys (tenant_id, crm_user_id)
    where crm_user_id is not null;
comment on column integration.api_keys.crm_user_id is
    'The user of the CRM whose records the key may see; empty: every record of the tenant.';

-- From here on written from marts/declared.py as it was; what was declared later is in later files.
create index users_api_name_idx
    on crm.users (tenant_id, (left(coalesce(name, ''), 100)), id);
create index users_api_search_idx
    on crm.users using gin ((
        pipeline.search_words(
            tenant_id,
            coalesce(name, '') || ' '
                || coalesce(email, ''),
            ''
        )
    ));
create index customers_api_name_idx
    on crm.customers (tenant_id, (left(coalesce(name, ''), 100)), id);
create index customers_api_remote_created_at_idx
    on crm.customers (tenant_id, (coalesce(remote_created_at, '-infinity'::timestamptz)), id);
create index customers_api_owner_id_idx
    on crm.customers (tenant_id, owner_id, id);
create index customers_api_search_idx
    on crm.customers using gin ((
        pipeline.search_words(
            tenant_id,
            coalesce(name, '') || ' '
                || coalesce(email, '') || ' '
                || coalesce(website, ''),
            coalesce(phone, '')
        )
    ));
select integration.bind_to_users('crm.customers', '
    (select pipeline.key_user()) is null
    or customers.system = (select pipeline.key_system()) and (
        (customers.owner_id = (select pipeline.key_user()))
        or (customers.visible_to = any ((select pipeline.seen_by_everybody())::text[]))
        or (customers.visible_to = any ((select pipeline.seen_by_group())::text[])
            and customers.owner_id = any ((select pipeline.key_group())::uuid[]))
    )
');

create index contacts_api_name_idx
    on crm.contacts (tenant_id, (left(coalesce(name, ''), 100)), id);
create index contacts_api_remote_created_at_idx
    on crm.contacts (tenant_id, (coalesce(remote_created_at, '-infinity'::timestamptz)), id);
create index contacts_api_owner_id_idx
    on crm.contacts (tenant_id, owner_id, id);
create index contacts_api_search_idx
    on crm.contacts using gin ((
        pipeline.search_words(
            tenant_id,
            coalesce(name, '') || ' '
                || coalesce(email, '') || ' '
                || jsonb_path_query_array(emails, '$[*].value')::text,
            coalesce(phone, '') || ' '
                || jsonb_path_query_array(phones, '$[*].value')::text
        )
    ));
select integration.bind_to_users('crm.contacts', '
    (select pipeline.key_user()) is null
    or contacts.system = (select pipeline.key_system()) and (
        (contacts.owner_id = (select pipeline.key_user()))
        or (contacts.visible_to = any ((select pipeline.seen_by_everybody())::text[]))
        or (contacts.visible_to = any ((select pipeline.seen_by_group())::text[])
            and contacts.owner_id = any ((select pipeline.key_group())::uuid[]))
    )
');

create index pipelines_api_sort_idx
    on crm.pipelines (tenant_id, (coalesce(sort, (-9223372036854775808)::bigint)), id);
create index pipelines_api_name_idx
    on crm.pipelines (tenant_id, (left(coalesce(name, ''), 100)), id);
create index stages_api_sort_idx
    on crm.stages (tenant_id, (coalesce(sort, (-9223372036854775808)::bigint)), id);
create index stages_api_name_idx
    on crm.stages (tenant_id, (left(coalesce(name, ''), 100)), id);
create index stages_api_pipeline_id_idx
    on crm.stages (tenant_id, pipeline_id, id);
create index products_api_name_idx
    on crm.products (tenant_id, (left(coalesce(name, ''), 100)), id);
create index products_api_remote_created_at_idx
    on crm.products (tenant_id, (coalesce(remote_created_at, '-infinity'::timestamptz)), id);
create index products_api_owner_id_idx
    on crm.products (tenant_id, owner_id, id);
create index products_api_is_active_idx
    on crm.products (tenant_id, (coalesce(is_active, false)), id);
create index products_api_search_idx
    on crm.products using gin ((
        pipeline.search_words(
            tenant_id,
            coalesce(name, '') || ' '
                || coalesce(code, ''),
            ''
        )
    ));
select integration.bind_to_users('crm.products', '
    (select pipeline.key_user()) is null
    or products.system = (select pipeline.key_system()) and (
        (products.owner_id = (select pipeline.key_user()))
        or (products.visible_to = any ((select pipeline.seen_by_everybody())::text[]))
        or (products.visible_to = any ((select pipeline.seen_by_group())::text[])
            and products.owner_id = any ((select pipeline.key_group())::uuid[]))
    )
');

select integration.bind_to_users('crm.product_prices', '
    (select pipeline.key_user()) is null
    or product_prices.system = (select pipeline.key_system()) and (
        (coalesce(product_prices.product_remote_id) is not null
            and (product_prices.product_remote_id is null or exists (
                select from crm.products as product_prices_product
                where product_prices_product.tenant_id = product_prices.tenant_id
                    and product_prices_product.id = product_prices.product_id
            )))
    )
');

create index leads_api_amount_idx
    on crm.leads (tenant_id, (coalesce(amount, '-infinity'::numeric)), id);
create index leads_api_remote_created_at_idx
    on crm.leads (tenant_id, (coalesce(remote_created_at, '-infinity'::timestamptz)), id);
create index leads_api_owner_id_idx
    on crm.leads (tenant_id, owner_id, id);
create index leads_api_search_idx
    on crm.leads using gin ((
        pipeline.search_words(
            tenant_id,
            coalesce(name, '') || ' '
                || coalesce(person_name, '') || ' '
                || coalesce(company_name, '') || ' '
                || coalesce(email, ''),
            coalesce(phone, '')
        )
    ));
select integration.bind_to_users('crm.leads', '
    (select pipeline.key_user()) is null
    or leads.system = (select pipeline.key_system()) and (
        (leads.owner_id = (select pipeline.key_user()))
        or (leads.visible_to = any ((select pipeline.seen_by_everybody())::text[]))
        or (leads.visible_to = any ((select pipeline.seen_by_group())::text[])
            and leads.owner_id = any ((select pipeline.key_group())::uuid[]))
    )
');

create index deals_api_amount_idx
    on crm.deals (tenant_id, (coalesce(amount, '-infinity'::numeric)), id);
create index deals_api_expected_close_date_idx
    on crm.deals (tenant_id, (coalesce(expected_close_date, '-infinity'::date)), id);
create index deals_api_remote_created_at_idx
    on crm.deals (tenant_id, (coalesce(remote_created_at, '-infinity'::timestamptz)), id);
create index deals_api_owner_id_idx
    on crm.deals (tenant_id, owner_id, id);
create index deals_api_stage_id_idx
    on crm.deals (tenant_id, stage_id, id);
create index deals_api_status_idx
    on crm.deals (tenant_id, (left(coalesce(status, ''), 100)), id);
create index deals_api_search_idx
    on crm.deals using gin ((
        pipeline.search_words(
            tenant_id,
            coalesce(name, ''),
            ''
        )
    ));
select integration.bind_to_users('crm.deals', '
    (select pipeline.key_user()) is null
    or deals.system = (select pipeline.key_system()) and (
        (deals.owner_id = (select pipeline.key_user()))
        or (deals.visible_to = any ((select pipeline.seen_by_everybody())::text[]))
        or (deals.visible_to = any ((select pipeline.seen_by_group())::text[])
            and deals.owner_id = any ((select pipeline.key_group())::uuid[]))
    )
');

select integration.bind_to_users('crm.deal_contacts', '
    (select pipeline.key_user()) is null
    or deal_contacts.system = (select pipeline.key_system()) and (
        (coalesce(deal_contacts.deal_remote_id) is not null
            and (deal_contacts.deal_remote_id is null or exists (
                select from crm.deals as deal_contacts_deal
                where deal_contacts_deal.tenant_id = deal_contacts.tenant_id
                    and deal_contacts_deal.id = deal_contacts.deal_id
            )))
    )
');

select integration.bind_to_users('crm.deal_stage_history', '
    (select pipeline.key_user()) is null
    or deal_stage_history.system = (select pipeline.key_system()) and (
        (coalesce(deal_stage_history.deal_remote_id) is not null
            and (deal_stage_history.deal_remote_id is null or exists (
                select from crm.deals as deal_stage_history_deal
                where deal_stage_history_deal.tenant_id = deal_stage_history.tenant_id
                    and deal_stage_history_deal.id = deal_stage_history.deal_id
            )))
    )
');

create index deal_products_api_sort_idx
    on crm.deal_products (tenant_id, (coalesce(sort, (-9223372036854775808)::bigint)), id);
select integration.bind_to_users('crm.deal_products', '
    (select pipeline.key_user()) is null
    or deal_products.system = (select pipeline.key_system()) and (
        (coalesce(deal_products.deal_remote_id) is not null
            and (deal_products.deal_remote_id is null or exists (
                select from crm.deals as deal_products_deal
                where deal_products_deal.tenant_id = deal_products.tenant_id
                    and deal_products_deal.id = deal_products.deal_id
            )))
    )
');

create index activities_api_due_date_idx
    on crm.activities (tenant_id, (coalesce(due_date, '-infinity'::date)), id);
create index activities_api_owner_id_idx
    on crm.activities (tenant_id, owner_id, id);
create index activities_api_done_idx
    on crm.activities (tenant_id, (coalesce(done, false)), id);
create index activities_api_search_idx
    on crm.activities using gin ((
        pipeline.search_words(
            tenant_id,
            coalesce(subject, ''),
            ''
        )
    ));
select integration.bind_to_users('crm.activities', '
    (select pipeline.key_user()) is null
    or activities.system = (select pipeline.key_system()) and (
        (activities.owner_id = (select pipeline.key_user()))
        or (coalesce(activities.customer_remote_id, activities.contact_remote_id, activities.deal_remote_id, activities.lead_remote_id) is not null
            and (activities.customer_remote_id is null or exists (
                select from crm.customers as activities_customer
                where activities_customer.tenant_id = activities.tenant_id
                    and activities_customer.id = activities.customer_id
            ))
            and (activities.contact_remote_id is null or exists (
                select from crm.contacts as activities_contact
                where activities_contact.tenant_id = activities.tenant_id
                    and activities_contact.id = activities.contact_id
            ))
            and (activities.deal_remote_id is null or exists (
                select from crm.deals as activities_deal
                where activities_deal.tenant_id = activities.tenant_id
                    and activities_deal.id = activities.deal_id
            ))
            and (activities.lead_remote_id is null or exists (
                select from crm.leads as activities_lead
                where activities_lead.tenant_id = activities.tenant_id
                    and activities_lead.id = activities.lead_id
            )))
    )
');

create index notes_api_author_id_idx
    on crm.notes (tenant_id, author_id, id);
select integration.bind_to_users('crm.notes', '
    (select pipeline.key_user()) is null
    or notes.system = (select pipeline.key_system()) and (
        (notes.author_id = (select pipeline.key_user()))
        or (coalesce(notes.customer_remote_id, notes.contact_remote_id, notes.deal_remote_id, notes.lead_remote_id) is not null
            and (notes.customer_remote_id is null or exists (
                select from crm.customers as notes_customer
                where notes_customer.tenant_id = notes.tenant_id
                    and notes_customer.id = notes.customer_id
            ))
            and (notes.contact_remote_id is null or exists (
                select from crm.contacts as notes_contact
                where notes_contact.tenant_id = notes.tenant_id
                    and notes_contact.id = notes.contact_id
            ))
            and (notes.deal_remote_id is null or exists (
                select from crm.deals as notes_deal
                where notes_deal.tenant_id = notes.tenant_id
                    and notes_deal.id = notes.deal_id
            ))
            and (notes.lead_remote_id is null or exists (
                select from crm.leads as notes_lead
                where notes_lead.tenant_id = notes.tenant_id
                    and notes_lead.id = notes.lead_id
            )))
    )
');
