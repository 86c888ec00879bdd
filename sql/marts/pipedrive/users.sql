-- crm.users from Pipedrive: the colleagues who own records.
-- Entity: users
-- Grain: one row per Pipedrive user.
-- Reads: users, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
select
    users.id as remote_id,
    users.name as name,
    users.email as email,
    users.active_flag as is_active,
    users.timezone_name as time_zone,
    users.is_deleted as is_deleted,
    users.modified as changed_at,
    users.created as remote_created_at
from users
