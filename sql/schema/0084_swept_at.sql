-- When a complete look at all records of an entity began is part of the history.
-- What: the comment of sync_logs.completeness.
-- Reads: nothing.
-- Needs: 0003_history.sql.

comment on column integration.sync_logs.completeness is
    'Per entity, raw compared with the source: {"persons": {"missing": 0, "extra": 0, "stale": 0, '
    '"checked_at": "…", "swept_at": "…"}}; deletions up to swept_at are marked, it is null where '
    'the comparison was not believed; an entity that was not compared is absent.';
