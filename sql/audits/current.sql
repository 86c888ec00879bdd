-- A row is as new as its record, and no value of it was lost on the way.
-- Grain: one row per record whose row is older, or empty where the select is not.
-- Reads: the select of the mart, over the tenant's raw schema (first on search_path); the mart.
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
where :is_lost
