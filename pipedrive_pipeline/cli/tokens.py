"""`tokens`: access tokens in a table that another service reads."""

from __future__ import annotations

from typing import Annotated

import typer

from pipedrive_pipeline.cli.options import AsJson, OneSystemOption, TenantOption
from pipedrive_pipeline.cli.output import print_json, print_table, terminal
from pipedrive_pipeline.cli.session import open_session
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.sync.tenancy.registry import connected_scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault import exports
from pipedrive_pipeline.vault.vault import open_vault

commands = typer.Typer(
    help="Keep access tokens in a table that another service reads.", no_args_is_help=True
)


@commands.command()
def export(
    tenant: TenantOption,
    system: OneSystemOption = None,
    reader: Annotated[
        str | None, typer.Option(help="The one role of Postgres that may read the table.")
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(help="Its name, or schema.name. [lead_SYSTEM_integrations in public]"),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="End it; the row is removed.")] = False,
) -> None:
    """Keep this tenant's access token fresh in a table. It has no refresh token."""
    session = open_session()
    vault = open_vault(session.warehouse, session.settings)
    scope = connected_scope(session.warehouse, Tenant(tenant), system)
    if off:
        ended = exports.stop(vault, scope, who="operator")
        terminal.print(
            f"{scope.tenant}: {'ended; the row is removed' if ended else 'was not exported'}."
        )
        return
    if reader is None:
        raise BadInput("add --reader ROLE: the one role of Postgres that may read the tokens.")
    started = exports.start(vault, scope, table=table, reader=reader, who="operator")
    terminal.print(
        f"{scope.tenant}: its {scope.system} access token is in {'.'.join(started.table)}, "
        f"tenant_id {started.external_id}, for {reader}. A sensor of Dagster keeps it fresh while "
        "`up` runs.",
        soft_wrap=True,
        markup=False,
    )


@commands.command("list")
def list_(json: AsJson = False) -> None:
    """List the exported tokens of all tenants, without the tokens."""
    session = open_session()
    rows = exports.listed(open_vault(session.warehouse, session.settings))
    facts = [
        {
            "tenant": row.scope.tenant.slug,
            "system": row.scope.system,
            "table": ".".join(row.export.table),
            "tenant_id": row.export.external_id,
            "expires_at": row.expires_at,
            "reason": row.reason,
        }
        for row in rows
    ]
    if json:
        print_json(facts)
    elif facts:
        print_table("Exported tokens", tuple(facts[0]), [list(row.values()) for row in facts])
    else:
        terminal.print("no token is exported; `tokens export --tenant T --reader ROLE` starts one.")
