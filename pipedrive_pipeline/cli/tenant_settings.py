"""`settings`: when and how a tenant is synced, as the API's `sync-config` has it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import ValidationError

from pipedrive_pipeline.cli.options import AsJson, OneSystemOption, TenantOption
from pipedrive_pipeline.cli.output import print_json, print_table, terminal
from pipedrive_pipeline.cli.session import CommandSession, open_session
from pipedrive_pipeline.connect.api.sync_models import Config
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.tenancy import configuration
from pipedrive_pipeline.sync.tenancy.registry import only_scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.vault import open_vault

commands = typer.Typer(
    help="Show and change when and how a tenant is synced.", no_args_is_help=True
)
UNSET = "none"
# Their values are separated by commas.
LISTS = frozenset({"alert_urls", "entities_off", "writes_allowed"})
PAIRS = frozenset({"entity_cycles"})  # so are these, each with its number: notes:24,leads:48


@commands.command()
def show(tenant: TenantOption, system: OneSystemOption = None, json: AsJson = False) -> None:
    """Show a tenant's settings. Alert addresses are masked."""
    session = open_session()
    scope = only_scope(session.warehouse, Tenant(tenant), system)
    with session.warehouse.transaction(scope.tenant) as connection:
        cipher = open_vault(session.warehouse, session.settings).cipher
        config = configuration.read(connection, cipher, scope)
    if json:
        print_json(config.facts())
        return
    rows = [
        [setting, _words(value), Config.model_fields[setting].description or ""]
        for setting, value in config.facts().items()
    ]
    print_table(f"{scope.tenant}: settings", ("setting", "value", ""), rows)


@commands.command("set")
def set_(
    tenant: TenantOption,
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE...",
            help=f"Such as sync_time=03:00 or budget_share=0.2; {UNSET} unsets a value. "
            "`settings show` lists the names.",
        ),
    ],
    system: OneSystemOption = None,
) -> None:
    """Change the settings that are named; the others stay."""
    session = open_session()
    scope = only_scope(session.warehouse, Tenant(tenant), system)
    changed = _checked(changes)
    _save(session, scope, changed)
    terminal.print(f"{scope.tenant}: {', '.join(changed)} saved.", markup=False)


def _checked(changes: list[str]) -> dict[str, Any]:
    """The changes as `SyncConfig` has them, by name.

    Raises:
        BadInput: a setting that does not exist, or a value that it cannot have.
    """
    values: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in Config.model_fields:
            names = ", ".join(Config.model_fields)
            raise BadInput(f"{name!r} is no setting; write NAME=VALUE with one of {names}.")
        value = None if text == UNSET else text
        if name in LISTS:
            values[name] = text.split(",") if value else []
        elif name in PAIRS and value:
            values[name] = {key: number for key, _, number in _pairs(text)}
        else:
            values[name] = value
    try:
        return Config.model_validate(values).changed()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise BadInput(f"{first['loc'][0]}: {reason}. Nothing was saved.") from None


def _save(session: CommandSession, scope: Scope, changed: dict[str, Any]) -> None:
    cipher = open_vault(session.warehouse, session.settings).cipher
    with session.warehouse.transaction(scope.tenant) as connection:
        configuration.save(
            connection,
            cipher,
            scope,
            changed,
            settings=session.settings,
            who="operator",
        )


def _pairs(text: str) -> list[tuple[str, str, str]]:
    return [pair.partition(":") for pair in text.split(",")]


def _words(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{key}:{number}" for key, number in value.items()) or None
    return ", ".join(map(str, value)) or None if isinstance(value, list) else value
