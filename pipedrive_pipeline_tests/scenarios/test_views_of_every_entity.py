"""An account with every kind of record, from the source to what an analyst sees."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.sandbox import seeded, serve
from pipedrive_pipeline_tests.databases import read_everything
from pipedrive_pipeline_tests.scenarios.oracle import source_rows
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World, world_at

# The mart whose rows are the records of an entity; the others have several rows, or none.
MART_OF = {source.entity: source.name for source in mart_sources(SYSTEM) if not source.is_of_parts}


def rows(world: World, query: str) -> list[tuple[Any, ...]]:
    with world.warehouse.transaction(search_path=(ACME.analytics_schema,)) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.mark.slow
def test_what_an_analyst_sees_of_every_entity(database_url: str, tmp_path: Path) -> None:
    """Each view has rows, the status names each entity, and figures are those of the account."""
    account = seeded(30, 40, deals=60, seed=3)
    world = world_at(database_url, tmp_path)
    with serve(account, has_limits=False) as sandbox:
        world.connect(ACME, sandbox)
        read_everything(world.warehouse, ACME)
        world.sync(sync_type="full")
        deals = [deal for deal in source_rows(sandbox, "deals") if not deal["is_deleted"]]

    status = {
        row[0]: row for row in rows(world, "select entity, state, mart, rows from sync_status")
    }
    in_views = {mart.name: rows(world, f"select count(*) from {mart.name}")[0][0] for mart in MARTS}
    assert set(status) == set(PIPEDRIVE.by_name)
    assert {state for _, state, _, _ in status.values()} == {"complete"}
    assert len(MART_OF) > 10
    assert {entity: mart for entity, _, mart, _ in status.values() if mart} == MART_OF
    assert {mart: in_views[mart] for mart in MART_OF.values()} == {
        MART_OF[entity]: count for entity, _, mart, count in status.values() if mart
    }
    assert [name for name, count in in_views.items() if not count] == []
    # Some deals are in a stage that was deleted before it was ever read.
    known = {stage for (stage,) in rows(world, "select pipedrive_id from stages_all")}
    open_deals = Counter(
        (deal["stage_id"] if deal["stage_id"] in known else None, deal["currency"])
        for deal in deals
        if deal["status"] == "open" and not deal["is_archived"]
    )
    today = rows(
        world,
        "select stages.pipedrive_id, today.currency, today.deals from pipeline_today as today"
        " left join stages_all as stages on stages.id = today.stage_id",
    )
    shown = Counter[tuple[int | None, str]]()
    for stage, currency, count in today:
        shown[stage, currency] += count
    assert shown == open_deals
    closed = rows(world, "select sum(won_deals), sum(lost_deals) from won_lost_monthly")
    assert closed == [tuple(sum(deal["status"] == s for deal in deals) for s in ("won", "lost"))]
    assert rows(world, "select from last_touch where last_touch_at is not null")
    assert rows(
        world, "select from deals where url like 'https://acme-sandbox.pipedrive.com/deal/%'"
    )
