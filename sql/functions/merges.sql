-- Chains of merged records.
-- What: the record that is left of each merged one.
-- Reads: crm.customers.
-- Needs: 0001_installation.sql; crm.customers when it is called.

-- Plain SQL without settings of its own, so that Postgres plans it as a part of the query that calls
-- it.
create or replace function pipeline.survivors(of_tenant text)
returns table (lost_id bigint, kept_id bigint)
language sql stable parallel safe rows 10
as $$
    with recursive merged as (
        select
            lost.pipedrive_id as lost_id,
            kept.pipedrive_id as kept_id,
            kept.merged_into as next_id,
            1 as step
        from crm.customers as lost
        inner join crm.customers as kept
            on kept.tenant_id = lost.tenant_id
            and kept.pipedrive_id = lost.merged_into
        where lost.tenant_id = of_tenant
            and lost.deleted_at is not null
            and lost.merged_into is not null
        union all
        select
            merged.lost_id as lost_id,
            kept.pipedrive_id as kept_id,
            kept.merged_into as next_id,
            merged.step + 1 as step
        from merged
        inner join crm.customers as kept
            on kept.tenant_id = of_tenant
            and kept.pipedrive_id = merged.next_id
        where merged.step < 20 -- a ring of merges must end
    )
    select distinct on (merged.lost_id)
        merged.lost_id as lost_id,
        merged.kept_id as kept_id
    from merged
    order by
        merged.lost_id asc,
        merged.step desc
$$;
comment on function pipeline.survivors(text) is
    'Merged customers of a tenant and the customer that is left of each: pipedrive_id of both. A '
    'survivor that is not known yet is left out.';
