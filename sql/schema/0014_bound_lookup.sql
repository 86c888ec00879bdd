-- Look-ups of keys that are bound to a user of the CRM, and fields that the CRM alone fills.
-- What: the policy of crm.contact_points; integration.fields.is_writable.
-- Reads: nothing.
-- Needs: 0006_fields.sql, 0010_lookup_and_lending.sql, 0011_crm_api.sql.

-- The policies of crm.customers and crm.contacts hold for the sub-selects, so that a point is seen by
-- whoever sees its record.
select integration.bind_to_users('crm.contact_points', '
    (select pipeline.key_user()) is null
    or exists (
        select
        from crm.customers as point_customers
        where point_customers.tenant_id = contact_points.tenant_id
            and point_customers.id = contact_points.customer_id
    )
    or exists (
        select
        from crm.contacts as point_contacts
        where point_contacts.tenant_id = contact_points.tenant_id
            and point_contacts.id = contact_points.contact_id
    )
');

alter table integration.fields add column is_writable boolean not null default true;
comment on column integration.fields.is_writable is
    'Whether its value can be set over the API; false only where the source says so.';
