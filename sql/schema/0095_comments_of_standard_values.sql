-- What columns of crm hold of values that come in several shapes.
-- What: comments.
-- Reads: nothing.
-- Needs: 0094_standard_values.sql.

comment on column crm.contacts.emails is
    'All e-mail addresses that are not empty: [{"value": "…", "primary": true, "label": "work"}]; an '
    'entry that was sent as text has its value only.';
comment on column crm.contacts.phones is
    'All phone numbers that are not empty: [{"value": "…", "primary": true, "label": "work"}]; an '
    'entry that was sent as text has its value only.';
comment on column crm.customers.labels is
    'Names of the labels, in the order of the source, also of labels that are gone; the id where no '
    'name was ever known.';
comment on column crm.contacts.labels is
    'Names of the labels, in the order of the source, also of labels that are gone; the id where no '
    'name was ever known.';
comment on column crm.customers.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is there.';
comment on column crm.contacts.deleted_at is
    'When it was seen to be gone from the source, or first read as deleted; empty while it is there.';
