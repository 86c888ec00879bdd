"""`refusals`: requests to the Connect app that were refused and may be attacks."""

from __future__ import annotations

from typing import Annotated

import typer

from pipedrive_pipeline.cli.options import AsJson
from pipedrive_pipeline.cli.output import print_json, print_table, terminal
from pipedrive_pipeline.cli.session import open_session

COLUMNS = ("hour (UTC)", "code", "tenant", "refused", "last")
QUERY = """
select
    refusals.began_at,
    refusals.code,
    refusals.tenant_id,
    refusals.refusals,
    refusals.last_at
from integration.refusals
where refusals.began_at >= now() - make_interval(days => %s)
order by
    refusals.began_at desc,
    refusals.refusals desc,
    refusals.code asc,
    refusals.tenant_id asc nulls last
"""


def refusals(
    days: Annotated[int, typer.Option(min=1, max=30, help="How far to look back.")] = 7,
    json: AsJson = False,
) -> None:
    """Show refused requests of the Connect app by hour: wrong keys, forged states, limits hit."""
    with open_session().warehouse.transaction() as connection:
        rows = connection.execute(QUERY, [days]).fetchall()
    if json:
        names = ("began_at", "code", "tenant", "refusals", "last_at")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    elif rows:
        shown = [
            (f"{began_at:%Y-%m-%d %H:00}", code, tenant or "none", count, f"{last_at:%H:%M:%S}")
            for began_at, code, tenant, count, last_at in rows
        ]
        print_table("", COLUMNS, shown)
    else:
        terminal.print(f"No request was refused as a possible attack in {days} days.")
