-- crm.activities from Orbit: meetings with an account.
-- Entity: meetings
-- Grain: one row per meeting in Orbit.
-- Reads: meetings, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
select
    meetings.key as remote_id,
    'meeting' as kind,
    meetings.title as subject,
    meetings.day::date as due_date,
    meetings.account as customer_remote_id,
    meetings.touched as changed_at,
    meetings.made as remote_created_at
from meetings
