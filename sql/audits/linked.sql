-- A row is linked exactly where the record that it refers to is known.
-- Grain: one row per record whose row lacks a link, or has one too many.
-- Reads: the mart and the mart that it links to.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py; the variables of
--        marts/audit.py, which psql takes with \set.
select
    target.:"record_column" as record_id,
    target.remote_id as remote_id
from :mart as target
left join :linked as linked
    on linked.tenant_id = target.tenant_id
    and linked.system = target.system
    and linked.remote_id = target.:"remote_column"
where target.tenant_id = current_setting('pipeline.tenant_id')
    and target.system = :'system'
    and target.remote_id is not null
    and (linked.id is null) <> (target.:"link" is null)
