-- crm.contacts: people that a tenant knows.
-- Grain: one row per tenant and Pipedrive person.
-- Reads: persons, users, deletions, in the tenant's raw schema (first on search_path);
--        integration.fields, updated from raw before; crm.customers, built before;
--        pipeline.survivors; crm.contacts, for the time of the first read as deleted.
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
    persons.owner_id as owner_id,
    users.name as owner_name,
    case
        when persons.label_ids = '[]' then '{}'
        else array(
            select coalesce(label_names.by_id ->> entry.id, entry.id)
            from jsonb_array_elements_text(
                case
                    when pipeline.are_plain_options(persons.label_ids) then persons.label_ids
                    else to_jsonb(pipeline.as_options(persons.label_ids))
                end
            ) with ordinality as entry (id, position)
            order by entry.position asc
        )
    end as labels,
    persons.update_time as changed_at,
    persons.add_time as pipedrive_created_at,
    coalesce(
        deletions.seen_at,
        case when persons.is_deleted
            then coalesce(
                persons.update_time,
                -- The source sent no time: the time at which the row was first read as deleted.
                (
                    select marked.deleted_at
                    from crm.contacts as marked
                    where marked.tenant_id = current_setting('pipeline.tenant_id')
                        and marked.pipedrive_id = persons.id
                ),
                pipeline.loaded_at(persons._dlt_load_id)
            )
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
-- People of a merged organization belong to the survivor, which may itself have been merged;
-- Pipedrive need not send them again. A survivor that is not known yet is ignored.
left join pipeline.survivors(current_setting('pipeline.tenant_id')) as survivors
    on survivors.lost_id = persons.org_id
left join crm.customers as customers
    on customers.tenant_id = current_setting('pipeline.tenant_id')
    and customers.pipedrive_id = coalesce(survivors.kept_id, persons.org_id)
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
-- Labels removed at the source keep their last text. `|| '{}'` detoasts them once per query.
cross join (
    select
        coalesce(
            (
                select fields.labels
                from integration.fields
                where fields.tenant_id = current_setting('pipeline.tenant_id')
                    and fields.system = 'pipedrive'
                    and fields.entity = 'persons'
                    and fields.field_key = 'label'
            ),
            '{}'
        ) || coalesce(
            (
                select fields.labels
                from integration.fields
                where fields.tenant_id = current_setting('pipeline.tenant_id')
                    and fields.system = 'pipedrive'
                    and fields.entity = 'persons'
                    and fields.field_key = 'label_ids'
            ),
            '{}'
        ) as by_id
    offset 0
) as label_names
