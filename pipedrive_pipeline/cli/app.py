"""The list of commands."""

from __future__ import annotations

import typer

from pipedrive_pipeline.cli import (
    benching,
    connecting,
    database,
    demo,
    encryption,
    mapping,
    serving,
    syncing,
    tenants,
    up,
)
from pipedrive_pipeline.sandbox.command import run_sandbox

app = typer.Typer(
    name="pipedrive-pipeline",
    help="A company's CRM, complete and readable in its own Postgres, kept up to date by Dagster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show locals, which may hold a token
    rich_markup_mode=None,
)

app.command()(demo.demo)
app.command()(up.up)
app.command()(database.env)
app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(database.psql)
app.command()(database.migrate)
app.command()(connecting.doctor)
app.add_typer(tenants.commands, name="tenants")
app.command()(connecting.connect)
app.command()(connecting.disconnect)
app.command()(syncing.sync)
app.command()(syncing.sweep)
app.add_typer(mapping.commands, name="mapping")
app.command()(mapping.remap)
app.command()(syncing.status)
app.command()(encryption.rotate_keys)
app.command("sandbox")(run_sandbox)
app.command()(benching.bench)
app.command("serve-connect", hidden=True)(serving.serve_connect)
