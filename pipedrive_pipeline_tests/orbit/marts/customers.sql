-- crm.customers from Orbit: companies that a tenant does business with.
-- Entity: accounts
-- Grain: one row per Orbit account.
-- Reads: accounts, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
select
    accounts.key as remote_id,
    accounts.title as name,
    accounts.town as city,
    accounts.owner as owner_remote_id,
    accounts.touched as changed_at,
    accounts.made as remote_created_at
from accounts
