-- Changes of the columns of custom fields: new, renamed, of another type.
-- Grain: one row per change.
-- Reads: integration.column_changes.
-- Needs: the tenant's analytics schema first on search_path, pipeline.tenant_id set.
--
-- As in sync_status.sql, the tenant's slug replaces the setting; the view is a security barrier.
create or replace view column_changes
with (security_barrier = true) as
select
    column_changes.changed_at as changed_at,
    column_changes.mart as view_name,
    column_changes.system as system,
    column_changes.change as change,
    column_changes.before as column_before,
    column_changes.after as column_after,
    column_changes.field_key as field_key
from integration.column_changes
where column_changes.tenant_id = current_setting('pipeline.tenant_id');

comment on view column_changes is
    'Changes of the columns of custom fields in the other views.';
comment on column column_changes.changed_at is
    'When the views changed.';
comment on column column_changes.view_name is
    'The view; the one with _all changed in the same way.';
comment on column column_changes.system is
    'The CRM that the field is from.';
comment on column column_changes.change is
    'added; renamed in the source; retyped: the name holds the new type; kept: the old column stays, '
    'because other objects depend on the view; overflowed: see more_fields.';
comment on column column_changes.column_before is
    'Column before.';
comment on column column_changes.column_after is
    'Column now.';
comment on column column_changes.field_key is
    'Key of the field in the source.';
