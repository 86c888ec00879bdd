"""The pipeline as the sandbox's page shows it: open deals by stage, with their value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.reading import listed
from pipedrive_pipeline.sandbox.pipedrive.world.records import Walk

Record = dict[str, Any]
DEALS_READ = 3_000  # at most, so that the page of a large company stays quick
CARDS = 5  # of each stage, those that were edited last


@dataclass(frozen=True)
class StageColumn:
    """One stage with its open deals."""

    stage: Record
    count: int
    values: tuple[str, ...]  # one for each currency
    deals: tuple[Record, ...]  # those that are shown


@dataclass(frozen=True)
class Board:
    """The stages of one pipeline, in their order."""

    pipelines: tuple[Record, ...]
    pipeline_id: int
    columns: tuple[StageColumn, ...]
    is_complete: bool  # False: only the first deals were read


def board_of(account: CrmAccount, pipeline_id: int) -> Board | None:
    """The board of a pipeline, or of the first one; None for a company without pipelines."""
    pipelines = sorted(_all(account, "pipelines"), key=lambda row: row["order_nr"])
    if not pipelines:
        return None
    if pipeline_id not in {row["id"] for row in pipelines}:
        pipeline_id = pipelines[0]["id"]
    stages = [row for row in _all(account, "stages") if row["pipeline_id"] == pipeline_id]
    deals = list(islice(_all(account, "deals"), DEALS_READ))
    return Board(
        pipelines=tuple(pipelines),
        pipeline_id=pipeline_id,
        columns=tuple(
            _column(stage, [deal for deal in deals if _is_in(deal, stage)])
            for stage in sorted(stages, key=lambda row: row["order_nr"])
        ),
        is_complete=len(deals) < DEALS_READ,
    )


def _all(account: CrmAccount, entity: str) -> Iterator[Record]:
    return listed(account, entity, account.admin_id, Walk())


def _is_in(deal: Record, stage: Record) -> bool:
    is_open = deal["status"] == "open" and not deal["is_archived"] and not deal["is_deleted"]
    return is_open and deal["stage_id"] == stage["id"]


def _column(stage: Record, deals: list[Record]) -> StageColumn:
    sums: Counter[str] = Counter()
    for deal in deals:
        sums[str(deal["currency"])] += deal["value"]
    newest = sorted(deals, key=lambda deal: str(deal["update_time"]), reverse=True)
    return StageColumn(
        stage=stage,
        count=len(deals),
        values=tuple(f"{total:,.0f} {currency}" for currency, total in sorted(sums.items())),
        deals=tuple(newest[:CARDS]),
    )
