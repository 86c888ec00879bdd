-- How fresh and how complete the synced rows are.
-- Grain: one row per system and entity that was ever read.
-- Reads: sync_status_rows.
-- Needs: the tenant's analytics schema first on search_path.
--
-- In the files of this folder a literal replaces each setting; a view is a security barrier.
create or replace view sync_status
with (security_barrier = true) as
select
    status.entity,
    status.as_of,
    status.rows,
    status.missing,
    status.last_sweep_at,
    now() - status.last_sweep_at as last_sweep_age,
    status.system,
    status.mart,
    status.state,
    status.reason,
    status.last_read_at
from sync_status_rows() as status;

comment on view sync_status is
    'How fresh and how complete the synced rows are, per entity of each source.';
comment on column sync_status.entity is
    'Name of the entity in the source.';
comment on column sync_status.as_of is
    'Every change up to then is in; empty before the first complete sync.';
comment on column sync_status.rows is
    'Rows of the mart that are there; neither deleted ones nor those that the app made.';
comment on column sync_status.missing is
    'Records of the source that the last comparison did not find here; empty if there was none.';
comment on column sync_status.last_sweep_at is
    'Records that were deleted or merged at the source by then are marked; empty before the first '
    'sweep or full read.';
comment on column sync_status.last_sweep_age is
    'How long ago that was.';
comment on column sync_status.system is
    'Key of the source.';
comment on column sync_status.mart is
    'The view that shows its records; empty where there is none.';
comment on column sync_status.state is
    'How its newest read ended: complete, partial, failed, paused (the day''s budget is used up), '
    'skipped (the plan or the rights do not include it), off (switched off in the settings).';
comment on column sync_status.reason is
    'Why it is not complete, in a sentence; empty if it is.';
comment on column sync_status.last_read_at is
    'When the newest sync began that read it whole.';
