-- crm.contacts: people that a tenant knows.
-- Grain: one row per tenant and Pipedrive person.
-- Reads: persons, person_fields, users, deletions, in the tenant's raw schema (first on
--        search_path); crm.customers, built before; pipeline.survivors.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
--
-- No with-clause at the top on purpose, as in customers.sql.
select
    current_setting('pipeline.tenant_id') as tenant_id,
    persons.id as pipedrive_id,
    customers.id as customer_id,
    persons.name as name,
    persons.first_name as first_name,
    persons.last_name as last_name,
    primary_email.address as email,
    primary_phone.number as phone,
    case
        when jsonb_typeof(persons.emails) = 'array' then persons.emails
        else '[]'
    end as emails,
    case
        when jsonb_typeof(persons.phones) = 'array' then persons.phones
        else '[]'
    end as phones,
    persons.job_title as job_title,
    persons.owner_id as owner_id,
    users.name as owner_name,
    coalesce(labels.names, '{}') as labels,
    persons.update_time as changed_at,
    persons.add_time as pipedrive_created_at,
    coalesce(
        deletions.seen_at,
        case when persons.is_deleted
            then coalesce(persons.update_time, persons.add_time)
        end
    ) as deleted_at,
    coalesce(
        deletions.reason,
        case when persons.is_deleted then 'deleted' end
    ) as deletion_reason,
    deletions.merged_into::bigint as merged_into
from persons
left join users
    on users.id = persons.owner_id
left join deletions
    on deletions.entity = 'persons'
    and deletions.id = persons.id::text
-- A merged organization's people belong to the one that is left, which may have been merged in its
-- turn; Pipedrive need not send them again. A survivor that is not known yet does not count.
left join pipeline.survivors(current_setting('pipeline.tenant_id')) as survivors
    on survivors.lost_id = persons.org_id
left join crm.customers as customers
    on customers.tenant_id = current_setting('pipeline.tenant_id')
    and customers.pipedrive_id = coalesce(survivors.kept_id, persons.org_id)
-- A person may hold no address, or several and none marked primary: then the first, or null.
-- Accounts from older times send one empty address instead of none.
left join lateral (
    select entry.item ->> 'value' as address
    from jsonb_array_elements(
        case
            when jsonb_typeof(persons.emails) = 'array' then persons.emails
            else '[]'
        end
    ) with ordinality as entry (item, position)
    where btrim(entry.item ->> 'value') <> ''
    order by
        (entry.item -> 'primary' is not distinct from 'true'::jsonb) desc,
        entry.position asc
    limit 1
) as primary_email on true
left join lateral (
    select entry.item ->> 'value' as number
    from jsonb_array_elements(
        case
            when jsonb_typeof(persons.phones) = 'array' then persons.phones
            else '[]'
        end
    ) with ordinality as entry (item, position)
    where btrim(entry.item ->> 'value') <> ''
    order by
        (entry.item -> 'primary' is not distinct from 'true'::jsonb) desc,
        entry.position asc
    limit 1
) as primary_phone on true
cross join (
    select
        coalesce(
            jsonb_object_agg(
                option.item ->> 'id',
                option.item -> 'label'
                order by (person_fields.field_code = 'label_ids') asc, option.position desc
            ),
            '{}'
        ) as by_id
    from person_fields
    cross join lateral jsonb_array_elements(
        case
            when jsonb_typeof(person_fields.options) = 'array' then person_fields.options
            else '[]'
        end
    ) with ordinality as option (item, position)
    where person_fields.field_code in ('label_ids', 'label')
        and option.item ->> 'id' is not null
) as label_names
left join lateral (
    select
        array_agg(
            coalesce(label_names.by_id ->> entry.id, entry.id)
            order by entry.position asc
        ) as names
    from jsonb_array_elements_text(
        case
            when jsonb_typeof(persons.label_ids) = 'array' then persons.label_ids
            else '[]'
        end
    ) with ordinality as entry (id, position)
    where entry.id is not null
) as labels on true
