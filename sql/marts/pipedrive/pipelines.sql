-- crm.pipelines from Pipedrive: sales processes.
-- Entity: pipelines
-- Page: https://{company_domain}.pipedrive.com/pipeline/{id}
-- Grain: one row per Pipedrive pipeline.
-- Reads: pipelines, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
select
    pipelines.id as remote_id,
    pipelines.name as name,
    pipelines.order_nr as sort,
    pipelines.is_deal_probability_enabled as probability_used,
    pipelines.is_deleted as is_deleted,
    pipelines.update_time as changed_at,
    pipelines.add_time as remote_created_at
from pipelines
