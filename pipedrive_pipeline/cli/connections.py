"""`connect`, `disconnect`, `doctor`: is this tenant connected, and does it work?"""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import SecretStr

from pipedrive_pipeline.cli.options import AsJson, OneSystemOption, SystemOption, TenantOption
from pipedrive_pipeline.cli.output import errors, print_json, print_table, terminal
from pipedrive_pipeline.cli.session import open_session, sandbox_within_reach
from pipedrive_pipeline.connect.consent.company_change import start_afresh
from pipedrive_pipeline.connect.consent.links import make as make_link
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs import requests
from pipedrive_pipeline.sync.status.doctor import examine
from pipedrive_pipeline.sync.tenancy.registry import connected_scope, only_scope
from pipedrive_pipeline.sync.webhooks.lifecycle import disconnect as end_connection
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.connect import connect_with_api_token
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse.database import Warehouse


def connect(
    tenant: TenantOption,
    system: OneSystemOption = None,
    api_token: Annotated[
        str | None, typer.Option(help="A personal API token; without it, a link for OAuth.")
    ] = None,
    api_url: Annotated[
        str | None, typer.Option(help="The company's address: https://acme.example.com.")
    ] = None,
    other_company: Annotated[
        bool,
        typer.Option("--other-company", help="It is another company than before; mark its rows."),
    ] = False,
) -> None:
    """Connect a tenant by API token, or print a one-time link that starts OAuth."""
    name = Tenant(tenant)
    if bool(api_token) != bool(api_url):
        raise BadInput("--api-token and --api-url go together.")
    if other_company and not api_token:
        raise BadInput("--other-company goes with --api-token; the link's page asks by itself.")
    session = open_session()
    scope = only_scope(session.warehouse, name, system)
    vault = open_vault(session.warehouse, session.settings)
    if api_token and api_url:
        with sandbox_within_reach(session.settings, name):
            connected = connect_with_api_token(
                vault,
                scope,
                SecretStr(api_token),
                api_url,
                who="operator",
                start_afresh=start_afresh if other_company else None,
            )
        terminal.print(
            f"{name}: connected to {connected.company_name} as {connected.account_user_name}; "
            f"{_next_step(session.warehouse, scope)}",
            soft_wrap=True,
            markup=False,
        )
        return
    link = make_link(vault, scope, who="operator")
    terminal.print(link.url, soft_wrap=True)
    errors.print(f"Open it in a browser before {link.expires_at:%H:%M} UTC; it works once.")


def _next_step(warehouse: Warehouse, scope: Scope) -> str:
    """Returns what follows a connection: the first read, or a sync if the company is the same."""
    with warehouse.transaction(scope.tenant) as connection:
        is_first_read = "full" in requests.types_queued(connection, scope)
    if is_first_read:
        return f"`sync --tenant {scope.tenant} --full` is next."
    return (
        f"its rows are kept, and a sync of what changed is queued: `up` runs it, or "
        f"`sync --tenant {scope.tenant}`."
    )


def disconnect(tenant: TenantOption, system: OneSystemOption = None) -> None:
    """Revoke a tenant's tokens and delete them. Synced data stays."""
    name = Tenant(tenant)
    session = open_session()
    scope = connected_scope(session.warehouse, name, system)
    end = end_connection(open_vault(session.warehouse, session.settings), scope, who="operator")
    terminal.print(f"{name}: disconnected; its synced data stays.")
    if end.note:
        terminal.print(f"{name}: {end.note}", soft_wrap=True, markup=False)


def doctor(
    tenant: Annotated[str | None, typer.Option(help="Also test this tenant's connection.")] = None,
    system: SystemOption = None,
    json: AsJson = False,
) -> None:
    """Check settings, database, schema, keys and, with a tenant, its connection."""
    session = open_session()
    name = Tenant(tenant) if tenant else None
    with sandbox_within_reach(session.settings, name):
        findings = examine(session.warehouse, session.settings, name, system)
    if json:
        print_json([finding.facts() for finding in findings])
    else:
        print_table("", ("check", "ok", "finding"), [finding.cells() for finding in findings])
    worst = next((finding.error for finding in findings if finding.error), None)
    if worst:
        raise worst
