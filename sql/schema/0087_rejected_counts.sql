-- The counts of rejected records and values in the history.
-- What: comments on integration.sync_logs.
-- Reads: nothing.
-- Needs: 0086_rejected_records.sql.

comment on column integration.sync_logs.organizations_rejected is
    'Organizations without a usable id, and values of organizations that did not fit their column; '
    'see rejected_values.';
comment on column integration.sync_logs.persons_rejected is
    'Persons without a usable id, and values of persons that did not fit their column; see '
    'rejected_values.';
