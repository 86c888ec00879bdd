-- What two settings do, in the words of whoever sets them.
-- What: comments of sync_persons and sync_custom_fields.
-- Reads: nothing.
-- Needs: 0002_tenants_and_settings.sql.

comment on column integration.sync_settings.sync_persons is
    'Whether persons and their fields are read; contacts that are there stay as they are.';
comment on column integration.sync_settings.sync_custom_fields is
    'Whether custom fields are shown in the views and mapped; raw keeps them in any case.';
