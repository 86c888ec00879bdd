-- Every record in raw has its row, and each part of it where it has several.
-- Grain: one row per record or part that has none.
-- Reads: the records of an entity, or the select of their parts, in the tenant's raw schema (first
--        on search_path); the mart.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py; the variables of
--        marts/audit.py, which psql takes with \set.
select
    mart.:"record_id" as record_id,
    mart.remote_id as remote_id
from (:records) as mart
left join :mart as target
    on target.tenant_id = current_setting('pipeline.tenant_id')
    and target.system = :'system'
    and target.remote_id = mart.remote_id::text
    and :is_built
where target.id is null
