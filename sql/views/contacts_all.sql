-- All contacts: those deleted at the source too, marked.
-- Grain: one row per contact of the tenant.
-- Reads: crm.contacts.
-- Needs: pipeline.tenant_id; marts/views/publication.py writes the tenant's slug in its place,
--        because a reader of the view has not set it.
--
-- The columns that every tenant's view has; custom fields follow from marts/fields/columns.py.
select
    contacts.id as id,
    contacts.tenant_id as tenant_id,
    contacts.customer_id as customer_id,
    contacts.pipedrive_id as pipedrive_id,
    contacts.name as name,
    contacts.first_name as first_name,
    contacts.last_name as last_name,
    contacts.email as email,
    contacts.phone as phone,
    contacts.emails as emails,
    contacts.phones as phones,
    contacts.job_title as job_title,
    contacts.owner_id as owner_id,
    contacts.owner_name as owner_name,
    contacts.labels as labels,
    contacts.attributes as attributes,
    contacts.changed_at as changed_at,
    contacts.pipedrive_created_at as pipedrive_created_at,
    contacts.pipedrive_synced_at as pipedrive_synced_at,
    contacts.deleted_at as deleted_at,
    contacts.deletion_reason as deletion_reason,
    contacts.merged_into_remote_id as merged_into_remote_id,
    contacts.former_remote_id as former_remote_id,
    contacts.created_at as created_at,
    contacts.updated_at as updated_at
from crm.contacts as contacts
where contacts.tenant_id = current_setting('pipeline.tenant_id')
