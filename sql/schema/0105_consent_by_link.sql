-- Consents that began with a one-time link.
-- What: the link that a consent belongs to, until the source's answer uses it up.
-- Reads: nothing.
-- Needs: 0010_connect.sql.

alter table integration.oauth_states add column link_hash text;
comment on column integration.oauth_states.link_hash is
    'Hash of the one-time link that began the consent; null: a caller with a key began it.';
create index oauth_states_link_hash_idx
    on integration.oauth_states (link_hash, created_at)
    where link_hash is not null;

alter table integration.pending_grants add column came_by_link boolean not null default false;
comment on column integration.pending_grants.came_by_link is
    'True: only the browser session that brought the grant may confirm it, no key.';
