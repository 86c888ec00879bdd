-- crm.users from Pipedrive: the colleagues who own records.
-- Entity: users
-- Grain: one row per Pipedrive user.
-- Reads: users, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
--
-- A user has rights for each app of Pipedrive; records belong to the app `sales`.
select
    users.id as remote_id,
    users.name as name,
    users.email as email,
    users.active_flag as is_active,
    case
        when users.access @? '$[*] ? (@.app == "sales")'
            then users.access @? '$[*] ? (@.app == "sales" && @.admin == true)'
        else users.access @? '$[*] ? (@.admin == true)'
    end as is_admin,
    users.role_id::text as role,
    users.timezone_name as time_zone,
    users.is_deleted as is_deleted,
    users.modified as changed_at,
    users.created as remote_created_at
from users
