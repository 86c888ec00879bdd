-- Organizations whose customer may differ from what crm.customers holds.
-- Grain: one row per Pipedrive organization and value of is_explained, which is true if a pending
--        load or a pending deletion mark is the reason.
-- Reads: organizations, deletions, in the tenant's raw schema (first on search_path);
--        crm.customers, integration.mart_state.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
with pending as materialized (
    select mart_state.pending_loads as loads
    from integration.mart_state
    where mart_state.tenant_id = current_setting('pipeline.tenant_id')
        and mart_state.system = 'pipedrive'
)
select
    organizations.id as pipedrive_id,
    true as is_explained
from organizations
where organizations._dlt_load_id = any ((select pending.loads from pending)::text[])
union
-- Deleted records whose row has no mark or another one.
select
    customers.pipedrive_id as pipedrive_id,
    deletions._dlt_load_id = any ((select pending.loads from pending)::text[]) as is_explained
from deletions
inner join crm.customers as customers
    on customers.tenant_id = current_setting('pipeline.tenant_id')
    -- Keys of other entities need not be numbers.
    and customers.pipedrive_id = case
        when deletions.entity = 'organizations' then deletions.id::bigint
    end
where deletions.entity = 'organizations'
    and (customers.deleted_at, customers.deletion_reason, customers.merged_into)
    is distinct from (deletions.seen_at, deletions.reason, deletions.merged_into::bigint)
union
-- Live records whose row is marked: by hand, or because raw's mark was removed.
select
    customers.pipedrive_id as pipedrive_id,
    false as is_explained
from crm.customers as customers
inner join organizations
    on organizations.id = customers.pipedrive_id
    and organizations.is_deleted is not true
left join deletions
    on deletions.entity = 'organizations'
    and deletions.id = customers.pipedrive_id::text
where customers.tenant_id = current_setting('pipeline.tenant_id')
    and customers.deleted_at is not null
    and deletions.id is null
