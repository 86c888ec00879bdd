-- Who has a phone number, an e-mail address or a domain.
-- Grain: one row per asked text and match, in order, at most :matches of each text.
-- Reads: crm.contact_points, crm.contacts, crm.customers, crm.users, crm.deals, crm.stages,
--        crm.activities, integration.tenants.
-- Needs: the role of the app with pipeline.tenant_id set to :tenant; :values, :domains and
--        :extensions, arrays of one length: of each text its value or its domain, the other null.
--
-- A phone number or an address gives the contacts that have it, and the customers that have it
-- themselves. A domain gives customers: its own, and those of contacts with an address there;
-- a contact without a customer stands for itself.
with asked as (
    select
        asked.number,
        asked.value,
        asked.domain,
        asked.extension
    from unnest(:values::text[], :domains::text[], :extensions::text[])
        with ordinality as asked (value, domain, extension, number)
),
points as (
    select
        asked.number,
        asked.domain is not null as is_domain,
        points.contact_id,
        points.customer_id,
        coalesce(points.extension = asked.extension, false) as is_same_extension
    from asked
    cross join lateral (
        (
            select
                points.contact_id,
                points.customer_id,
                points.extension
            from crm.contact_points as points
            where points.tenant_id = :tenant
                and points.value = asked.value
            limit :points
        )
        union all
        (
            select
                points.contact_id,
                points.customer_id,
                points.extension
            from crm.contact_points as points
            where points.tenant_id = :tenant
                and points.domain = asked.domain
            order by points.customer_id is null asc
            limit :points
        )
    ) as points
),
records as (
    select
        points.number,
        case when not points.is_domain or contacts.customer_id is null then contacts.id end
            as contact_id,
        contacts.customer_id,
        contacts.changed_at,
        points.is_same_extension
    from points
    inner join crm.contacts
        on contacts.tenant_id = :tenant
        and contacts.id = points.contact_id
        and contacts.deleted_at is null
    union all
    select
        points.number,
        null as contact_id,
        customers.id as customer_id,
        customers.changed_at,
        points.is_same_extension
    from points
    inner join crm.customers
        on customers.tenant_id = :tenant
        and customers.id = points.customer_id
        and customers.deleted_at is null
),
matches as (
    select
        records.number,
        records.contact_id,
        records.customer_id,
        row_number() over (
            partition by records.number
            order by
                bool_or(records.is_same_extension) desc,
                max(records.changed_at) desc nulls last,
                records.contact_id asc,
                records.customer_id asc
        ) as place
    from records
    -- A customer is in the answer of its contact.
    where records.contact_id is not null
        or not exists (
            select
            from records as of_contact
            where of_contact.number = records.number
                and of_contact.contact_id is not null
                and of_contact.customer_id = records.customer_id
        )
    group by
        records.number,
        records.contact_id,
        records.customer_id
)
select
    matches.number,
    contacts.id as contact_id,
    contacts.system as contact_system,
    contacts.remote_id as contact_remote_id,
    contacts.name as contact_name,
    contacts.job_title as contact_job_title,
    contacts.email as contact_email,
    contacts.phone as contact_phone,
    customers.id as customer_id,
    customers.system as customer_system,
    customers.remote_id as customer_remote_id,
    customers.name as customer_name,
    customers.website as customer_website,
    customers.city as customer_city,
    customers.country as customer_country,
    owners.id as owner_id,
    coalesce(owners.name, contacts.owner_name, customers.owner_name) as owner_name,
    owners.email as owner_email,
    open_deals.deals as open_deals,
    open_deals.deals_count as open_deals_count,
    last_activity.id as activity_id,
    last_activity.kind as activity_kind,
    last_activity.subject as activity_subject,
    last_activity.took_place_at as activity_at
from matches
left join crm.contacts
    on contacts.tenant_id = :tenant
    and contacts.id = matches.contact_id
left join crm.customers
    on customers.tenant_id = :tenant
    and customers.id = matches.customer_id
    and customers.deleted_at is null
left join crm.users as owners
    on owners.tenant_id = :tenant
    and owners.id = coalesce(contacts.owner_id, customers.owner_id)
left join lateral (
    select
        coalesce(
            jsonb_agg(to_jsonb(deals) - 'place' order by deals.place asc)
                filter (where deals.place <= :deals),
            '[]'
        ) as deals,
        count(*) as deals_count
    from (
        select
            deals.id,
            deals.name,
            deals.amount,
            deals.currency,
            deals.expected_close_date,
            stages.name as stage,
            row_number() over (order by deals.changed_at desc nulls last, deals.id asc) as place
        from crm.deals
        left join crm.stages
            on stages.tenant_id = :tenant
            and stages.id = deals.stage_id
        where deals.tenant_id = :tenant
            and (deals.contact_id = matches.contact_id or deals.customer_id = matches.customer_id)
            and deals.status = 'open'
            and deals.deleted_at is null
            and deals.is_archived is not true
    ) as deals
) as open_deals on true
left join lateral (
    select
        activities.id,
        activities.kind,
        activities.subject,
        -- As in the view last_touch: one that was done before it was due was done then.
        least(
            coalesce(
                activities.starts_at,
                activities.due_date::timestamp at time zone tenants.time_zone
            ),
            activities.done_at
        ) as took_place_at
    from crm.activities
    cross join integration.tenants
    where tenants.slug = :tenant
        and activities.tenant_id = :tenant
        and (
            activities.contact_id = matches.contact_id
            or activities.customer_id = matches.customer_id
        )
        and activities.done
        and activities.deleted_at is null
    order by
        took_place_at desc nulls last,
        activities.id asc
    limit 1
) as last_activity on true
where matches.place <= :matches
order by
    matches.number asc,
    matches.place asc
