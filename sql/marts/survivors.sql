-- Merged rows of a mart and the row that is left of each.
-- Grain: one row per merged row; a survivor that is not known yet is left out.
-- Reads: the mart.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py; the variables mart and
--        system, which psql takes with \set.
with recursive merged as (
    select
        lost.remote_id as lost_id,
        kept.remote_id as kept_id,
        kept.merged_into_remote_id as next_id,
        1 as step
    from :mart as lost
    inner join :mart as kept
        on kept.tenant_id = lost.tenant_id
        and kept.system = lost.system
        and kept.remote_id = lost.merged_into_remote_id
    where lost.tenant_id = current_setting('pipeline.tenant_id')
        and lost.system = :'system'
        and lost.deleted_at is not null
        and lost.merged_into_remote_id is not null
    union all
    select
        merged.lost_id as lost_id,
        kept.remote_id as kept_id,
        kept.merged_into_remote_id as next_id,
        merged.step + 1 as step
    from merged
    inner join :mart as kept
        on kept.tenant_id = current_setting('pipeline.tenant_id')
        and kept.system = :'system'
        and kept.remote_id = merged.next_id
    where merged.step < 20 -- a ring of merges must end
)
select distinct on (merged.lost_id)
    merged.lost_id as lost_id,
    merged.kept_id as kept_id
from merged
order by
    merged.lost_id asc,
    merged.step desc
