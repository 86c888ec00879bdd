-- Rejected records without a usable key, one row each.
-- What: fingerprint and is_confirmed of integration.rejected_values; its unique keys again.
-- Reads: integration.rejected_values.
-- Needs: 0040_values.sql.

alter table integration.rejected_values
    add column fingerprint text,
    add column is_confirmed boolean not null default true;

update integration.rejected_values
set fingerprint = encode(sha256(convert_to(coalesce(value, ''), 'UTF8')), 'hex') || '/1'
where record_id is null;

-- Nulls are distinct in it from now on: records without an id differ by their fingerprint.
alter table integration.rejected_values
    drop constraint rejected_values_tenant_id_system_entity_record_id_field_key,
    add constraint rejected_values_tenant_id_system_entity_record_id_field_key
        unique (tenant_id, system, entity, record_id, field),
    add constraint rejected_values_fingerprint_check
        check ((record_id is null) = (fingerprint is not null));
create unique index rejected_values_fingerprint_idx
    on integration.rejected_values (tenant_id, system, entity, fingerprint)
    where record_id is null;

comment on table integration.rejected_values is
    'Values of the source that a column could not hold as they were, and records without a usable '
    'id, of which raw has no row. May hold personal data.';
comment on column integration.rejected_values.fingerprint is
    'Of a record without a usable id: hash of its text, and the how manyth with that text it was '
    'in the read; empty otherwise.';
comment on column integration.rejected_values.is_confirmed is
    'False for a record without a usable id that a read of everything, begun since, has not sent '
    'yet; it is deleted if that read ends without it.';
