-- crm.users from Orbit: the colleagues who own records.
-- Entity: users
-- Grain: one row per Orbit user.
-- Reads: users, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
select
    users.key as remote_id,
    users.name as name,
    users.mail as email,
    users.active as is_active,
    users.touched as changed_at,
    users.made as remote_created_at
from users
