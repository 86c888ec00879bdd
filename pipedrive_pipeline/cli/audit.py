"""`audit`: who did what, from `integration.audit_log`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pipedrive_pipeline.cli.options import AsJson
from pipedrive_pipeline.cli.output import print_json, print_table, terminal
from pipedrive_pipeline.cli.session import open_session
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse import audit_log

COLUMNS = ("at (UTC)", "tenant", "who", "action", "subject")


def audit(
    tenant: Annotated[
        str | None, typer.Option(help="Only this tenant, also one that was removed.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 50,
    json: AsJson = False,
) -> None:
    """Show who did what, newest first: connections, settings, mappings, keys, erasures."""
    slug = Tenant(tenant).slug if tenant else None
    with open_session().warehouse.transaction() as connection:
        entries = audit_log.newest(connection, tenant=slug, limit=limit)
    if json:
        print_json([asdict(entry) for entry in entries])
    elif entries:
        shown = [
            (
                f"{entry.at:%Y-%m-%d %H:%M:%S}",
                entry.tenant_id or "none",
                entry.who,
                entry.action,
                entry.subject or "-",
            )
            for entry in entries
        ]
        print_table("", COLUMNS, shown)
    else:
        terminal.print("Nothing was done yet.")
