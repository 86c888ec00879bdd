"""`tenants`: add, list and remove tenants."""

from __future__ import annotations

from typing import Annotated

import typer

from pipedrive_pipeline.cli.erasure import erase_person
from pipedrive_pipeline.cli.options import AsJson
from pipedrive_pipeline.cli.output import print_json, print_table, terminal
from pipedrive_pipeline.cli.session import CommandSession, enter_dagster, open_session
from pipedrive_pipeline.sync.runs.lock import tenant_lock
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline.sync.tenancy.removal import end as end_tenant
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.vault import open_vault

commands = typer.Typer(help="Add, list and remove tenants.", no_args_is_help=True)
TenantArgument = Annotated[str, typer.Argument(help="The tenant's name, such as acme.")]
CountryOption = Annotated[
    str | None,
    typer.Option(
        help="Of phone numbers without a country code: DE. [the connected account's country]"
    ),
]


@commands.command()
def add(
    tenant: TenantArgument,
    external_id: Annotated[str | None, typer.Option(help="Your app's id of this tenant.")] = None,
    display_name: Annotated[str | None, typer.Option(help="Its name for people.")] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Where its night is: Europe/Berlin. [DEFAULT_TIME_ZONE]")
    ] = None,
    country: CountryOption = None,
) -> None:
    """Register a tenant. Repeating it changes nothing."""
    name = Tenant(tenant)
    session = open_session()
    is_new = registry.add(
        session.warehouse,
        session.settings,
        name,
        external_id=external_id,
        display_name=display_name,
        time_zone=time_zone,
        country=country,
    )
    terminal.print(
        f"{name}: added; `connect --tenant {name}` is next." if is_new else f"{name}: is there."
    )


@commands.command()
def change(
    tenant: TenantArgument,
    external_id: Annotated[str | None, typer.Option(help="Your app's id of this tenant.")] = None,
    display_name: Annotated[str | None, typer.Option(help="Its name for people.")] = None,
    country: CountryOption = None,
) -> None:
    """Change what is named; the rest stays."""
    name = Tenant(tenant)
    session = open_session()
    changed = registry.change(
        session.warehouse,
        name,
        {"external_id": external_id, "display_name": display_name, "country": country},
        who="operator",
    )
    terminal.print(f"{name}: {', '.join(changed) or 'nothing'} changed.", markup=False)
    if "country" in changed:
        terminal.print(
            f"`remap --tenant {name}` reads its phone numbers again; the next sweep does, too."
        )


@commands.command("list")
def list_(json: AsJson = False) -> None:
    """List all tenants."""
    tenants = registry.all_tenants(open_session().warehouse)
    if json:
        print_json(
            [
                {
                    "slug": row.tenant.slug,
                    "external_id": row.external_id,
                    "display_name": row.display_name,
                    "time_zone": row.time_zone,
                    "country": row.country,
                    "connections": row.connections,
                    "created_at": row.created_at,
                }
                for row in tenants
            ]
        )
    elif tenants:
        print_table(
            "Tenants",
            ("tenant", "name", "external id", "time zone", "connections"),
            [
                [
                    *(row.tenant, row.display_name, row.external_id, row.time_zone),
                    ", ".join(f"{key}: {state}" for key, state in row.connections.items()) or None,
                ]
                for row in tenants
            ],
        )
    else:
        terminal.print("no tenants yet; `tenants add NAME` makes one.")


@commands.command()
def remove(
    tenant: TenantArgument,
    erase: Annotated[
        bool, typer.Option("--erase", help="Also drop all of its data, for good.")
    ] = False,
) -> None:
    """Forget a tenant. Refuses while it has data, without --erase."""
    name = Tenant(tenant)
    session = open_session()
    registry.known(session.warehouse, name)
    with tenant_lock(session.warehouse, name) as lock:
        vault = open_vault(session.warehouse, session.settings)
        ended = end_tenant(vault, name, is_erasing=erase, who="operator")
        lock.drop()
        if erase:
            _forget_in_dagster(session, name)
    for note in [connection.note for connection in ended if connection.note]:
        terminal.print(f"{name}: {note}", soft_wrap=True, markup=False)
    terminal.print(f"{name}: removed.")


commands.command()(erase_person)


def _forget_in_dagster(session: CommandSession, tenant: Tenant) -> None:
    enter_dagster(session)
    import dagster as dg

    from pipedrive_pipeline.defs.run_deletion import forget

    with dg.DagsterInstance.get() as instance:
        forget(instance, tenant)
