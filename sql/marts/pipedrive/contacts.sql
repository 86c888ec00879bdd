-- crm.contacts from Pipedrive: people that a tenant knows.
-- Entity: persons
-- Page: https://{company_domain}.pipedrive.com/person/{id}
-- Options of labels: label, label_ids
-- Grain: one row per Pipedrive person.
-- Reads: persons, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
--
-- No with-clause at the top on purpose, as in customers.sql.
select
    persons.id as remote_id,
    persons.org_id::text as customer_remote_id,
    persons.name as name,
    persons.first_name as first_name,
    persons.last_name as last_name,
    coalesce(
        jsonb_path_query_first(email_points.entries, '$[*] ? (@.primary == true).value'),
        email_points.entries -> 0 -> 'value'
    ) #>> '{}' as email,
    coalesce(
        jsonb_path_query_first(phone_points.entries, '$[*] ? (@.primary == true).value'),
        phone_points.entries -> 0 -> 'value'
    ) #>> '{}' as phone,
    email_points.entries as emails,
    phone_points.entries as phones,
    persons.job_title as job_title,
    persons.owner_id::text as owner_remote_id,
    case
        when persons.label_ids = '[]' or pipeline.are_plain_options(persons.label_ids)
            then persons.label_ids
        else to_jsonb(pipeline.as_options(persons.label_ids))
    end as labels,
    persons.visible_to::text as visible_to,
    persons.is_deleted as is_deleted,
    persons.update_time as changed_at,
    persons.add_time as remote_created_at
from persons
-- `offset 0`: the entries are evaluated once, not once for each column.
left join lateral (
    select
        case
            when pipeline.are_plain_points(persons.emails) then persons.emails
            else pipeline.contact_points(persons.emails)
        end as entries
    offset 0
) as email_points on true
left join lateral (
    select
        case
            when pipeline.are_plain_points(persons.phones) then persons.phones
            else pipeline.contact_points(persons.phones)
        end as entries
    offset 0
) as phone_points on true
