-- How fresh and how complete the synced rows are: the rows of the view sync_status.
-- Grain: one row per system and entity that was ever read.
-- Reads: integration.entity_status, with the rights of the owner.
-- Needs: pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting. integration.entity_status reads
-- with the rights of the user of the query even through another view, so that the app sees its own
-- tenant only. An analyst has no rights on the control tables: a function of the owner reads it.
create or replace function sync_status_rows()
returns table (
    entity text,
    as_of timestamptz,
    rows bigint,
    missing bigint,
    last_sweep_at timestamptz,
    system text,
    mart text,
    state text,
    reason text,
    last_read_at timestamptz
)
language sql stable security definer
set search_path = ''
as $function$
select
    entity_status.entity,
    entity_status.as_of,
    entity_status.rows,
    entity_status.missing,
    entity_status.last_sweep_at,
    entity_status.system,
    entity_status.mart,
    entity_status.state,
    entity_status.reason,
    entity_status.last_read_at
from integration.entity_status
where entity_status.tenant_id = current_setting('pipeline.tenant_id')
$function$;

comment on function sync_status_rows() is
    'The rows of the view sync_status, which is the one to read.';
