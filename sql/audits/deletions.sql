-- Exactly the records that are gone carry deleted_at.
-- Grain: one row per record whose row has a wrong mark.
-- Reads: the select of the mart and deletions, over the tenant's raw schema (first on search_path);
--        the mart.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py; the variables of
--        marts/audit.py, which psql takes with \set.
select
    mart.:"record_id" as record_id,
    mart.remote_id as remote_id
from (:select) as mart
inner join :mart as target
    on target.tenant_id = current_setting('pipeline.tenant_id')
    and target.system = :'system'
    and target.remote_id = mart.remote_id::text
    and :is_built
left join deletions as mark
    on mark.entity = :'entity'
    and mark.id = target.:"record_column"
where not :is_deleted
    and (mark.id is null) <> (target.deleted_at is null)
