"""`status`: what a tenant's last runs came to, and whether its data is as it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from pipedrive_pipeline.cli.options import AsJson, SystemOption
from pipedrive_pipeline.cli.output import (
    errors,
    print_facts,
    print_json,
    print_lines,
    print_table,
    terminal,
)
from pipedrive_pipeline.cli.session import CommandSession, open_session
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.status.tenant_status import TenantStatus, tenant_statuses, trend
from pipedrive_pipeline.sync.status.trends import RUNS_SHOWN, run_figures
from pipedrive_pipeline.tenants import Tenant

STATUS_TABLE_COLUMNS = 110  # of a terminal; a narrower one gets a block per tenant
TENANTS_IN_DETAIL_MAX = 20  # more of them are lines of one table


def status(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    system: SystemOption = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="Rows, seconds and tokens of the tenant's last runs."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Show each tenant's connection, last run and rows."""
    if history and not tenant:
        raise BadInput("--history goes with --tenant: it shows one tenant's runs.")
    session = open_session()
    key = registry.system(system).key if system else None
    if history and tenant:
        _print_history(session, Tenant(tenant), key, json=json)
        return
    statuses = [
        status
        for status in tenant_statuses(session.warehouse, Tenant(tenant) if tenant else None)
        if key in {None, status.row.system}
    ]
    if json:
        print_json([status.facts() for status in statuses])
        return
    if not statuses:
        terminal.print("no tenants yet; `tenants add NAME` makes one.")
        return
    _print_statuses(statuses)
    for status in statuses:
        not_live = status.why_not_live if tenant else None
        for remark in (not_live, *status.remarks, status.last_error):
            if remark:
                errors.print(f"{status.tenant}: {remark}", markup=False, soft_wrap=True)


def _print_history(
    session: CommandSession, tenant: Tenant, system: str | None, *, json: bool
) -> None:
    """Prints the last runs of each of the tenant's systems, oldest first, with bars."""
    from pipedrive_pipeline.sync.tenancy.registry import known  # imports the marts

    connected = known(session.warehouse, tenant).connections
    for key in [key for key in connected if system in {None, key}]:
        with session.warehouse.transaction(tenant) as connection:
            runs = run_figures(connection, Scope(tenant, key), limit=RUNS_SHOWN)
        if json:
            print_json({"system": key, "runs": [asdict(run) for run in runs]})
        elif not runs:
            terminal.print(f"{tenant}: no run of {key} has ended yet.", markup=False)
        else:
            print_table(
                f"{tenant}: the last {len(runs)} runs of {registry.system(key).label}",
                ("began (UTC)", "type", "status", "rows", "seconds", "tokens"),
                [
                    (
                        f"{run.started_at:%m-%d %H:%M}",
                        run.sync_type,
                        run.status,
                        run.rows_read,
                        run.seconds,
                        run.tokens_spent,
                    )
                    for run in runs
                ],
            )
            print_facts(
                {
                    "rows": trend([run.rows_read for run in runs]),
                    "seconds": trend([round(run.seconds) for run in runs]),
                    "tokens": trend([run.tokens_spent for run in runs]),
                }
            )


def _print_statuses(statuses: Sequence[TenantStatus]) -> None:
    """Prints them as wide as the terminal; a line each, however long, if they are many."""
    cells = [status.cells() for status in statuses]
    if len(statuses) > TENANTS_IN_DETAIL_MAX:
        print_lines(TenantStatus.COLUMNS, cells)
    elif terminal.width >= STATUS_TABLE_COLUMNS:
        print_table("Tenants", TenantStatus.COLUMNS, cells)
    else:
        for each in cells:
            print_facts(dict(zip(TenantStatus.COLUMNS, each, strict=True)))
            terminal.print()
