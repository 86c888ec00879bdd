-- Until when the CRM may send no events, for the pages and the API.
-- What: a right of the app.
-- Reads: nothing.
-- Needs: 0008_webhooks.sql.

select integration.isolate(
    'integration.webhooks',
    'select (
        id, tenant_id, system, state, reason, made_at, checked_at, next_check_at, attempts,
        last_event_at, gap_since, gap_reason, paused_until
    )'
);
