"""Rows of the marts, written by hand, for views that read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM
from pipedrive_pipeline_tests.warehouse.databases import ACME


@dataclass
class MartRows:
    """One tenant's rows, in one open transaction."""

    connection: psycopg.Connection
    tenant: Tenant = ACME
    numbers: count[int] = field(default_factory=lambda: count(1))

    def add(self, mart: str, **values: Any) -> UUID:
        """Adds a row and returns its id; a value that is a list stays a Postgres array."""
        row = {
            "tenant_id": self.tenant.slug,
            "system": SYSTEM,
            "remote_id": str(next(self.numbers)),
            **values,
        }
        names = [sql.Identifier(name) for name in row]
        added = self.connection.execute(
            sql.SQL("insert into {} ({}) values ({}) returning id").format(
                sql.Identifier("crm", mart),
                sql.SQL(", ").join(names),
                sql.SQL(", ").join([sql.Placeholder()] * len(row)),
            ),
            list(row.values()),
        ).fetchone()
        assert added is not None
        return UUID(str(added[0]))

    def pipeline(self, name: str, *stages: str, **facts: object) -> dict[str, UUID]:
        """Adds a pipeline with its stages; returns the ids by name."""
        ids = {name: self.add("pipelines", name=name, **facts)}
        for number, stage in enumerate(stages):
            ids[stage] = self.add("stages", name=stage, sort=number, pipeline_id=ids[name])
        return ids

    def visit(
        self,
        deal: UUID,
        stage: UUID,
        entered: datetime,
        left: datetime | None,
        *changes: tuple[str, datetime],
        **facts: object,
    ) -> UUID:
        """Adds a visit of a stage, as the build writes it.

        It begins with the status ``first``, open by default; ``changes`` are each later one and
        its time.
        """
        statuses = [(str(facts.pop("first", "open")), entered), *changes]
        ends = [*(time for _, time in statuses[1:]), left]
        seconds = [
            None if end is None else int((end - began).total_seconds())
            for (status, began), end in zip(statuses, ends, strict=True)
            if status == "open"
        ]
        last = dict(changes)
        known = self.connection.execute(
            "select deals.remote_id, stages.pipeline_id from crm.deals, crm.stages"
            " where deals.id = %s and stages.id = %s",
            (deal, stage),
        ).fetchone()
        assert known is not None
        added = self.add(
            "deal_stage_history",
            deal_id=deal,
            deal_remote_id=known[0],
            stage_id=stage,
            pipeline_id=known[1],
            entered_at=entered,
            left_at=left,
            statuses=Jsonb(
                [
                    {"status": status, "at": time.isoformat(), "is_change": number > 0}
                    for number, (status, time) in enumerate(statuses)
                ]
            ),
            open_seconds=None if None in seconds else sum(filter(None, seconds)),
            won_at=last.get("won"),
            lost_at=last.get("lost"),
            reopened_at=last.get("open"),
            last_status=statuses[-1][0],
            **{"entered_at_is_exact": True, "origin": "diff", **facts},
        )
        self.connection.execute(_AMONG_VISITS, (deal,))
        return added

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Returns the rows of a query on the tenant's views."""
        self.connection.execute(
            sql.SQL("set local search_path to {}").format(
                sql.Identifier(self.tenant.analytics_schema)
            )
        )
        with self.connection.transaction():  # what follows a failure goes on
            return self.connection.execute(query.encode()).fetchall()

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Returns the rows of a query on the tenant's views, by column."""
        self.query("select")
        return self.connection.cursor(row_factory=dict_row).execute(query.encode()).fetchall()


# What the build writes of a visit from the deal's others.
_AMONG_VISITS = b"""
update crm.deal_stage_history as visit
set is_last_in_stage = known.is_last,
    stage_open_seconds = case when known.is_last and known.is_over then known.seconds end,
    stages_visited = case when visit.left_at is null then known.stages else '{}' end
from (
    select
        history.id,
        history.entered_at = max(history.entered_at) over in_stage as is_last,
        bool_and(history.open_seconds is not null) over in_stage as is_over,
        sum(history.open_seconds) over in_stage as seconds,
        (
            select array_agg(distinct stages.remote_id)
            from crm.deal_stage_history as visited
            inner join crm.stages
                on stages.id = visited.stage_id
            where visited.deal_id = history.deal_id
        ) as stages
    from crm.deal_stage_history as history
    where history.deal_id = %s
    window in_stage as (
        partition by history.stage_id
    )
) as known
where visit.id = known.id
"""
