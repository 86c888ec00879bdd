-- Proposes pairs of rows of an app and of a mart by one rule, and says which are in doubt.
-- What: rows of integration.sink_links without confirmed_at; marks in both temporary tables.
-- Reads: pg_temp.sink_app, pg_temp.sink_crm, which have one column for each rule.
-- Needs: filled in by marts/sinks/matching.py.
--
-- A pair is certain if the key names one row on each side, no other rule that identifies says that
-- they differ, and the record is not a candidate of another row. All else is for a person.

with pairs as materialized (
    select
        sink_app.app_key,
        sink_crm.row_id,
        sink_crm.remote_id,
        count(*) over (partition by sink_app.app_key) as records,
        count(*) over (partition by sink_crm.row_id) as app_rows,
        sink_crm.is_candidate,
        :is_contradicted as is_contradicted
    from pg_temp.sink_app
    inner join pg_temp.sink_crm
        on sink_crm.:rule_column = sink_app.:rule_column
    where not sink_app.is_decided
        and not sink_crm.is_taken
),

judged as (
    select
        pairs.*,
        case
            when pairs.records > 1 or pairs.app_rows > 1 or pairs.is_candidate then 'several'
            when pairs.is_contradicted then 'contradicts'
        end as doubt
    from pairs
),

decided as (
    update pg_temp.sink_app
    set is_decided = true
    where sink_app.app_key in (select judged.app_key from judged)
),

marked as (
    update pg_temp.sink_crm
    set is_taken = judged.doubt is null,
        is_candidate = true
    from judged
    where judged.row_id = sink_crm.row_id
)

insert into integration.sink_links
    (tenant_id, system, sink, row_id, remote_id, app_key, matched_by, doubt)
select
    :'tenant',
    :'system',
    :'sink',
    judged.row_id,
    judged.remote_id,
    judged.app_key,
    :'rule',
    judged.doubt
from judged
