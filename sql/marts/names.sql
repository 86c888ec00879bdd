-- Names that the marts show in place of an id: users, labels, industries.
-- Grain: one row per kind and id.
-- Reads: users, in the tenant's raw schema (first on search_path); integration.fields, updated
--        from raw before.
-- Needs: pipeline.tenant_id, set local to the transaction by marts/build.py.
--
-- A renamed user or label changes no record; marts/build.py compares a fingerprint of these rows with
-- the one of the last build and reads everything when they differ.
select
    'user' as kind,
    users.id::text as id,
    users.name as name
from users
union all
select
    concat_ws(' ', fields.entity, fields.field_key) as kind,
    label.id as id,
    label.name as name
from integration.fields
cross join lateral jsonb_each_text(fields.labels) as label (id, name)
where fields.tenant_id = current_setting('pipeline.tenant_id')
    and fields.system = 'pipedrive'
    and (
        fields.field_key in ('label_ids', 'label')
        or (fields.entity = 'organizations' and fields.field_key = 'industry')
    )
