"""The report about which rows of an app and which records are the same, and what is undecided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from pipedrive_pipeline.marts.declared import mart as mart_of
from pipedrive_pipeline.marts.sinks.app_access import rows_read
from pipedrive_pipeline.marts.sinks.form import Sink
from pipedrive_pipeline.marts.sinks.states import require_table, sink_transaction, state_key
from pipedrive_pipeline.marts.sinks.store import sink_of
from pipedrive_pipeline.marts.sinks.writer import ensure_writer
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse

AMBIGUOUS_LISTED: Final = 200
CANDIDATES_LISTED: Final = 10


@dataclass(frozen=True)
class Candidate:
    """A record that a row of the app may be."""

    remote_id: str
    name: str | None
    matched_by: str
    doubt: str  # several or contradicts


@dataclass(frozen=True)
class AmbiguousRow:
    """A row of the app about which a person decides."""

    app_key: str  # parts of a key of several columns with a comma between them
    values: dict[str, Any]
    candidates: list[Candidate]


@dataclass(frozen=True)
class MatchReport:
    """How the rows of an app's table and the live records of a mart relate.

    Attributes:
        linked: rows of the app that are linked already.
        matched: rows of the app with one certain record, by rule.
        ambiguous: rows of the app that a person decides about.
        left_over: rows of the app without any record.
        new: records without any row of the app; they are inserted.
        listed: the first ambiguous rows, at most 200.
    """

    sink: str
    linked: int
    matched: Mapping[str, int]
    ambiguous: int
    left_over: int
    new: int
    listed: list[AmbiguousRow]


def report(
    connection: psycopg.Connection, scope: Scope, sink: Sink, rows: sql.Identifier
) -> MatchReport:
    """Returns the report of the proposals that are there; `rows` has those of the app."""
    facts = state_key(scope, sink)
    mart = sql.Identifier(*mart_of(sink.mart).table)
    row = connection.execute(sql.SQL(_COUNTS).format(mart=mart, rows=rows), facts).fetchone()
    if row is None:
        raise LookupError("a query of counts has a row")
    linked, matched, ambiguous, left_over, new = row
    listed = connection.execute(
        sql.SQL(_LISTED).format(mart=mart, rows=rows),
        facts | {"rows": AMBIGUOUS_LISTED, "candidates": CANDIDATES_LISTED},
    ).fetchall()
    return MatchReport(
        sink.name,
        linked,
        matched or {},
        ambiguous,
        left_over,
        new,
        [
            AmbiguousRow(",".join(key), shown, [Candidate(**each) for each in candidates])
            for key, shown, candidates in listed
        ],
    )


def match_report(warehouse: Warehouse, scope: Scope, name: str) -> MatchReport:
    """Returns the report of the last `match`, as of now.

    Raises:
        BadInput: there is no such sink.
    """
    with sink_transaction(warehouse, scope) as connection:
        sink = sink_of(connection, scope, name)
        table = require_table(connection, scope, sink)
        with rows_read(connection, ensure_writer(connection, scope, sink, table)) as rows:
            return report(connection, scope, sink, rows)


_COUNTS: Final = """
with own as materialized (
    select sink_links.*
    from integration.sink_links
    where sink_links.tenant_id = %(tenant)s
        and sink_links.system = %(system)s
        and sink_links.sink = %(sink)s
),

app as materialized (select rows.app_key from {rows} as rows)

select
    (
        select count(*)
        from app
        where app.app_key in (select own.app_key from own where own.confirmed_at is not null)
    ),
    (
        select jsonb_object_agg(counted.matched_by, counted.rows)
        from (
            select own.matched_by, count(*) as rows
            from own
            where own.confirmed_at is null
                and own.doubt is null
            group by own.matched_by
        ) as counted
    ),
    (
        select count(distinct own.app_key)
        from own
        where own.confirmed_at is null
            and own.doubt is not null
    ),
    (
        select count(*)
        from app
        where app.app_key not in (select own.app_key from own where own.app_key is not null)
    ),
    (
        select count(*)
        from {mart} as mart
        where mart.tenant_id = %(tenant)s
            and mart.system = %(system)s
            and mart.deleted_at is null
            and mart.id not in (select own.row_id from own)
    )
"""
_LISTED: Final = """
with doubtful as materialized (
    select
        sink_links.app_key,
        sink_links.matched_by,
        sink_links.doubt,
        sink_links.remote_id,
        mart.name,
        row_number() over (
            partition by sink_links.app_key
            order by length(sink_links.remote_id), sink_links.remote_id
        ) as place
    from integration.sink_links
    inner join {mart} as mart
        on mart.id = sink_links.row_id
    where sink_links.tenant_id = %(tenant)s
        and sink_links.system = %(system)s
        and sink_links.sink = %(sink)s
        and sink_links.confirmed_at is null
        and sink_links.doubt is not null
),

listed as (
    select
        doubtful.app_key,
        jsonb_agg(
            jsonb_build_object(
                'remote_id', doubtful.remote_id,
                'name', doubtful.name,
                'matched_by', doubtful.matched_by,
                'doubt', doubtful.doubt
            )
            order by doubtful.place
        ) as candidates
    from doubtful
    where doubtful.place <= %(candidates)s
    group by doubtful.app_key
    order by doubtful.app_key
    limit %(rows)s
)

select listed.app_key, app.shown, listed.candidates
from listed
inner join {rows} as app
    on app.app_key = listed.app_key
order by listed.app_key
"""
