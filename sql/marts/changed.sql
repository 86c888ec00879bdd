-- Records whose row may differ from what a mart holds, apart from links.
-- Grain: one row per record and value of is_explained, which is true if a pending load or a pending
--        deletion mark is the reason.
-- Reads: the records of an entity and deletions, in the tenant's raw schema (first on search_path);
--        the mart; integration.mart_state.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py; the variables of
--        marts/writing.py, which psql takes with \set.
with pending as materialized (
    select mart_state.pending_loads as loads
    from integration.mart_state
    where mart_state.tenant_id = current_setting('pipeline.tenant_id')
        and mart_state.system = :'system'
)
select
    record.:"key" as remote_id,
    true as is_explained
from :"records" as record
where record._dlt_load_id = any ((select pending.loads from pending)::text[])
union
-- Deleted records whose row has no mark or another one.
select
    :mark_key as remote_id,
    mark._dlt_load_id = any ((select pending.loads from pending)::text[]) as is_explained
from deletions as mark
inner join :mart as target
    on target.tenant_id = current_setting('pipeline.tenant_id')
    and target.system = :'system'
    and target.:"record_column" = mark.id
where mark.entity = :'entity'
    and :is_marked_otherwise
:changed_by_others
union
-- Live records whose row is marked: by hand, or because raw's mark was removed.
select
    mart.:"record_id" as remote_id,
    false as is_explained
from :mart as target
inner join (:select) as mart
    on mart.remote_id = :target_key
left join deletions as mark
    on mark.entity = :'entity'
    and mark.id = target.:"record_column"
where :is_looked_for
    and target.tenant_id = current_setting('pipeline.tenant_id')
    and target.system = :'system'
    and target.deleted_at is not null
    and mark.id is null
    and not :is_deleted
