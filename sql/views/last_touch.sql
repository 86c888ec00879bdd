-- When somebody last had to do with a customer, a contact or a deal, and when they will next.
-- Grain: one row per record of customers, contacts and deals.
-- Reads: crm.customers, crm.contacts, crm.deals, crm.users, crm.activities, crm.notes.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting; the view is a security barrier.
-- A condition on record_kind leaves one of the three parts, since the kind is a constant in each.
create or replace view last_touch
with (security_barrier = true) as
select
    records.kind as record_kind,
    records.id as record_id,
    records.name as record_name,
    records.system as system,
    records.owner_id as owner_id,
    owners.name as owner_name,
    greatest(of_activities.last_activity_at, of_notes.last_note_at) as last_touch_at,
    of_activities.last_activity_at as last_activity_at,
    of_notes.last_note_at as last_note_at,
    of_activities.next_activity_on as next_activity_on,
    coalesce(of_activities.done_activities, 0) as done_activities,
    coalesce(of_activities.open_activities, 0) as open_activities,
    coalesce(of_notes.notes, 0) as notes
from (
    select
        'customer' as kind,
        customers.id as id,
        customers.name as name,
        customers.system as system,
        customers.owner_id as owner_id
    from crm.customers
    where customers.tenant_id = current_setting('pipeline.tenant_id')
        and customers.deleted_at is null
    union all
    select
        'contact' as kind,
        contacts.id as id,
        contacts.name as name,
        contacts.system as system,
        contacts.owner_id as owner_id
    from crm.contacts
    where contacts.tenant_id = current_setting('pipeline.tenant_id')
        and contacts.deleted_at is null
    union all
    select
        'deal' as kind,
        deals.id as id,
        deals.name as name,
        deals.system as system,
        deals.owner_id as owner_id
    from crm.deals
    where deals.tenant_id = current_setting('pipeline.tenant_id')
        and deals.deleted_at is null
) as records
left join crm.users as owners
    on owners.tenant_id = current_setting('pipeline.tenant_id')
    and owners.id = records.owner_id
left join (
    select
        activities.kind as kind,
        activities.record_id as record_id,
        -- An activity that was done before it was due was done then.
        max(
            least(
                coalesce(
                    activities.starts_at,
                    activities.due_date::timestamp at time zone tenants.time_zone
                ),
                activities.done_at
            )
        ) filter (where activities.done) as last_activity_at,
        min(
            coalesce(
                (activities.starts_at at time zone tenants.time_zone)::date,
                activities.due_date
            )
        ) filter (where activities.done is not true) as next_activity_on,
        count(*) filter (where activities.done) as done_activities,
        count(*) filter (where activities.done is not true) as open_activities
    from (
        select
            'customer' as kind,
            activities.customer_id as record_id,
            activities.starts_at as starts_at,
            activities.due_date as due_date,
            activities.done_at as done_at,
            activities.done as done
        from crm.activities
        where activities.tenant_id = current_setting('pipeline.tenant_id')
            and activities.deleted_at is null
            and activities.customer_id is not null
        union all
        select
            'contact' as kind,
            activities.contact_id as record_id,
            activities.starts_at as starts_at,
            activities.due_date as due_date,
            activities.done_at as done_at,
            activities.done as done
        from crm.activities
        where activities.tenant_id = current_setting('pipeline.tenant_id')
            and activities.deleted_at is null
            and activities.contact_id is not null
        union all
        select
            'deal' as kind,
            activities.deal_id as record_id,
            activities.starts_at as starts_at,
            activities.due_date as due_date,
            activities.done_at as done_at,
            activities.done as done
        from crm.activities
        where activities.tenant_id = current_setting('pipeline.tenant_id')
            and activities.deleted_at is null
            and activities.deal_id is not null
    ) as activities
    cross join integration.tenants
    where tenants.slug = current_setting('pipeline.tenant_id')
    group by
        activities.kind,
        activities.record_id
) as of_activities
    on of_activities.kind = records.kind
    and of_activities.record_id = records.id
left join (
    select
        notes.kind as kind,
        notes.record_id as record_id,
        max(notes.written_at) as last_note_at,
        count(*) as notes
    from (
        select
            'customer' as kind,
            notes.customer_id as record_id,
            notes.remote_created_at as written_at
        from crm.notes
        where notes.tenant_id = current_setting('pipeline.tenant_id')
            and notes.deleted_at is null
            and notes.customer_id is not null
        union all
        select
            'contact' as kind,
            notes.contact_id as record_id,
            notes.remote_created_at as written_at
        from crm.notes
        where notes.tenant_id = current_setting('pipeline.tenant_id')
            and notes.deleted_at is null
            and notes.contact_id is not null
        union all
        select
            'deal' as kind,
            notes.deal_id as record_id,
            notes.remote_created_at as written_at
        from crm.notes
        where notes.tenant_id = current_setting('pipeline.tenant_id')
            and notes.deleted_at is null
            and notes.deal_id is not null
    ) as notes
    group by
        notes.kind,
        notes.record_id
) as of_notes
    on of_notes.kind = records.kind
    and of_notes.record_id = records.id;

comment on view last_touch is
    'When somebody last had to do with a customer, a contact or a deal, and when they will next; '
    'e-mails are not read.';
comment on column last_touch.record_kind is
    'customer, contact or deal; a query for one of them reads nothing of the others.';
comment on column last_touch.record_id is
    'The row (id) of customers, contacts or deals.';
comment on column last_touch.record_name is
    'Its name.';
comment on column last_touch.system is
    'The CRM; empty for rows that the app made.';
comment on column last_touch.owner_id is
    'The user (users.id) who owns the record; empty where it is not known.';
comment on column last_touch.owner_name is
    'Name of that user.';
comment on column last_touch.last_touch_at is
    'When the last activity was done or the last note written, whichever is later; empty if never.';
comment on column last_touch.last_activity_at is
    'When the last activity that is done took place; when it was marked as done, if that was '
    'earlier.';
comment on column last_touch.last_note_at is
    'When the last note was written.';
comment on column last_touch.next_activity_on is
    'Day of the first activity that is not done, in the time zone of the tenant; may be over.';
comment on column last_touch.done_activities is
    'Number of activities that are done.';
comment on column last_touch.open_activities is
    'Number of activities that are not done.';
comment on column last_touch.notes is
    'Number of notes.';
