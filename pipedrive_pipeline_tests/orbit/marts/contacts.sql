-- crm.contacts from Orbit: people that a tenant knows.
-- Entity: people
-- Grain: one row per person in Orbit.
-- Reads: people, in the tenant's raw schema (first on search_path).
-- Needs: nothing else.
select
    people.key as remote_id,
    people.account as customer_remote_id,
    concat_ws(' ', people.given, people.family) as name,
    people.given as first_name,
    people.family as last_name,
    people.mail as email,
    people.owner as owner_remote_id,
    people.touched as changed_at,
    people.made as remote_created_at
from people
