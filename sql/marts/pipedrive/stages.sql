-- crm.stages from Pipedrive: stages of its pipelines.
-- Entity: stages
-- Grain: one row per Pipedrive stage.
-- Reads: stages, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
--
-- No stage closes a deal in Pipedrive: the deal's status does, whatever its stage.
select
    stages.id as remote_id,
    stages.pipeline_id::text as pipeline_remote_id,
    stages.name as name,
    stages.order_nr as sort,
    trim_scale(stages.deal_probability::numeric) as probability,
    false as is_closed,
    false as is_won,
    case when stages.is_deal_rot_enabled is not false then stages.days_to_rotten end as rotten_after_days,
    stages.is_deleted as is_deleted,
    stages.update_time as changed_at,
    stages.add_time as remote_created_at
from stages
