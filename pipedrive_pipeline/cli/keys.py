"""`keys`: the API keys of the Connect API, each with a tenant and a role."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from pipedrive_pipeline.cli.options import AsJson, TenantOption
from pipedrive_pipeline.cli.output import print_json, print_table, terminal
from pipedrive_pipeline.cli.session import open_session_of, who
from pipedrive_pipeline.connect.api.crm.bound_keys import user_id
from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.keys import Key
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.errors import BadInput

commands = typer.Typer(help="Add, list and revoke a tenant's API keys.", no_args_is_help=True)


@commands.command()
def add(
    tenant: TenantOption,
    role: Annotated[
        Role, typer.Option(help="user: read; manager: also map and sync; admin: everything.")
    ],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
    days: Annotated[
        int | None, typer.Option(min=1, max=3_650, help="It expires after as many; else never.")
    ] = None,
    crm_user: Annotated[
        str | None,
        typer.Option(
            help="Bind it to this user of the CRM, such as SYSTEM:7; see docs/crm-api.md."
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Make a key of the Connect API. It is shown once, and stored as a hash only."""
    session, of = open_session_of(tenant)
    with session.warehouse.as_app(of) as connection:
        expires_at = days and datetime.now(UTC) + timedelta(days=days)
        new = keys.add(
            connection,
            of,
            role,
            name,
            who=who(),
            expires_at=expires_at or None,
            crm_user_id=user_id(connection, of, crm_user),
        )
    if json:
        print_json(_facts(new.key) | {"key": new.text})
        return
    terminal.print(new.text, soft_wrap=True, markup=False)
    terminal.print(
        f"{of}: a key for the role {role}. It is not shown again; whoever has it sends "
        "`Authorization: Bearer KEY`.",
        soft_wrap=True,
        markup=False,
    )


@commands.command("list")
def list_(tenant: TenantOption, json: AsJson = False) -> None:
    """List a tenant's keys, without their secrets."""
    session, of = open_session_of(tenant)
    with session.warehouse.as_app(of) as connection:
        tenant_keys = keys.of_tenant(connection, of)
    if json:
        print_json([_facts(row) for row in tenant_keys])
    elif tenant_keys:
        print_table(
            f"{of}: keys",
            ("key", "name", "role", "made", "last used", "expires", "revoked"),
            [_row(row) for row in tenant_keys],
        )
    else:
        terminal.print(f"{of}: no keys yet; `keys add --tenant {of} --role user` makes one.")


@commands.command()
def revoke(
    tenant: TenantOption,
    key: Annotated[str, typer.Option(help="Its id, or its first characters as listed.")],
) -> None:
    """Revoke a key; from then on it opens nothing, nor does any session begun with it."""
    session, of = open_session_of(tenant)
    with session.warehouse.as_app(of) as connection:
        matches = [
            candidate
            for candidate in keys.of_tenant(connection, of)
            if key in (str(candidate.id), candidate.prefix)
        ]
        if len(matches) != 1:
            raise BadInput(
                f"{of}: {len(matches) or 'no'} keys are called {key!r}; "
                f"`keys list --tenant {of} --json` shows their ids."
            )
        keys.revoke(connection, of, matches[0].id, who=who())
    terminal.print(f"{of}: {matches[0].prefix} ({matches[0].name}) is revoked.", markup=False)


def _row(key: Key) -> list[Any]:
    instants = (key.created_at, key.last_used_at, key.expires_at, key.revoked_at)
    return [key.prefix, key.name, key.role, *(at and f"{at:%Y-%m-%d %H:%M}" for at in instants)]


def _facts(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "prefix": key.prefix,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "last_used_at": key.last_used_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "crm_user_id": key.crm_user_id,
    }
