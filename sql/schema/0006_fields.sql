-- Custom fields: their definitions and changes, and the columns that analysts see.
-- What: the field catalogue with its history, the columns of the views with theirs.
-- Reads: nothing.
-- Needs: 0003_tenants.sql.

create table integration.fields (
    tenant_id text not null,
    system text not null,
    entity text not null,
    field_key text not null,
    field_name text not null,
    field_type text not null,
    is_custom boolean not null,
    options jsonb not null default '{}',
    labels jsonb not null default '{}',
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    removed_at timestamptz,
    constraint fields_pkey primary key (tenant_id, system, entity, field_key),
    constraint fields_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
comment on table integration.fields is
    'Every field that a tenant''s records ever had. The key is the identity: a field that is made '
    'again under the same name is another one.';
comment on column integration.fields.tenant_id is
    'The tenant.';
comment on column integration.fields.system is
    'Key of the CRM.';
comment on column integration.fields.entity is
    'Entity of the records that have the field.';
comment on column integration.fields.field_key is
    'Key of the field; readable if built in, else 40 digits.';
comment on column integration.fields.field_name is
    'Name as last seen; neither unique nor lasting.';
comment on column integration.fields.field_type is
    'The source''s type as last seen, such as varchar, enum, monetary.';
comment on column integration.fields.is_custom is
    'Whether the company made the field itself.';
comment on column integration.fields.options is
    'Options as last seen: id to label.';
comment on column integration.fields.labels is
    'Label of every option that was ever seen, removed ones too: id to label as last seen.';
comment on column integration.fields.first_seen_at is
    'When the field was first seen.';
comment on column integration.fields.last_seen_at is
    'When the definition was last seen to be new or changed.';
comment on column integration.fields.removed_at is
    'When it was first seen to be gone; empty while it is there.';
select integration.isolate('integration.fields');

create table integration.field_changes (
    id bigint generated always as identity,
    tenant_id text not null,
    system text not null,
    entity text not null,
    field_key text not null,
    change text not null,
    before text,
    after text,
    seen_at timestamptz not null default now(),
    constraint field_changes_pkey primary key (id),
    constraint field_changes_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade,
    constraint field_changes_change_check check (
        change in (
            'added', 'renamed', 'retyped', 'removed', 'restored',
            'option_added', 'option_renamed', 'option_removed'
        )
    )
);
create index field_changes_tenant_id_idx
    on integration.field_changes (tenant_id, system, entity, field_key, id);
comment on table integration.field_changes is
    'What happened to fields and their options, in the order in which it was seen.';
comment on column integration.field_changes.id is
    'Number of the row.';
comment on column integration.field_changes.tenant_id is
    'The tenant.';
comment on column integration.field_changes.system is
    'Key of the CRM.';
comment on column integration.field_changes.entity is
    'Entity of the records that have the field.';
comment on column integration.field_changes.field_key is
    'Key of the field.';
comment on column integration.field_changes.change is
    'added, renamed, retyped, removed, restored; option_added, option_renamed, option_removed.';
comment on column integration.field_changes.before is
    'Name, type or label before.';
comment on column integration.field_changes.after is
    'Name, type or label after.';
comment on column integration.field_changes.seen_at is
    'When the change was seen.';
select integration.isolate('integration.field_changes');

create table integration.view_columns (
    tenant_id text not null,
    system text not null,
    mart text not null,
    field_key text not null,
    field_type text not null,
    part text not null,
    position integer not null,
    column_name text not null,
    named_after text not null,
    is_overflow boolean not null default false,
    is_retired boolean not null default false,
    constraint view_columns_pkey primary key (tenant_id, system, mart, field_key, field_type, part),
    constraint view_columns_column_name_key
        unique (tenant_id, mart, column_name) deferrable initially deferred,
    constraint view_columns_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
comment on table integration.view_columns is
    'Which column of a tenant''s views shows which custom field; a name stays until its field is '
    'renamed.';
comment on column integration.view_columns.tenant_id is
    'The tenant.';
comment on column integration.view_columns.system is
    'Key of the CRM.';
comment on column integration.view_columns.mart is
    'Mart whose views have the column.';
comment on column integration.view_columns.field_key is
    'Key of the field.';
comment on column integration.view_columns.field_type is
    'The source''s type that the column was made for.';
comment on column integration.view_columns.part is
    'Which part of the field: empty for the value itself, else amount, currency, id and so on.';
comment on column integration.view_columns.position is
    'Order of the columns, in which they came.';
comment on column integration.view_columns.column_name is
    'Name of the column.';
comment on column integration.view_columns.named_after is
    'Name of the field from which the column''s was made.';
comment on column integration.view_columns.is_overflow is
    'Whether the view had no room: the value stands in more_fields under this name.';
comment on column integration.view_columns.is_retired is
    'Whether the field has another type now, and the column stayed for what is built on it.';
select integration.isolate('integration.view_columns');

create table integration.column_changes (
    id bigint generated always as identity,
    tenant_id text not null,
    system text not null,
    mart text not null,
    field_key text not null,
    change text not null,
    before text,
    after text,
    changed_at timestamptz not null default now(),
    constraint column_changes_pkey primary key (id),
    constraint column_changes_tenant_id_fkey foreign key (tenant_id)
        references integration.tenants (slug) on delete cascade
);
create index column_changes_tenant_id_idx on integration.column_changes (tenant_id, system, id);
comment on table integration.column_changes is
    'Columns of the analysts'' views that came, changed or were renamed.';
comment on column integration.column_changes.id is
    'Number of the row.';
comment on column integration.column_changes.tenant_id is
    'The tenant.';
comment on column integration.column_changes.system is
    'Key of the CRM.';
comment on column integration.column_changes.mart is
    'Mart whose views have the column.';
comment on column integration.column_changes.field_key is
    'Key of the field.';
comment on column integration.column_changes.change is
    'added, renamed, retyped (the name holds the new type now), kept (the type changed, and the '
    'old column stays because something is built on the view), overflowed (no room: more_fields).';
comment on column integration.column_changes.before is
    'Column before.';
comment on column integration.column_changes.after is
    'Column after.';
comment on column integration.column_changes.changed_at is
    'When the views changed.';
select integration.isolate('integration.column_changes');
