"""The list of commands.

A command's module is imported when the command is used: importing all takes most of a second, and
a sync that finds its tenant busy must answer within one.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}  # words for another program

COMMANDS: dict[str, str] = {
    "demo": "cli.demo:demo",
    "up": "cli.up:up",
    "down": "cli.up:down",
    "env": "cli.database:env",
    "psql": "cli.database:psql",
    "migrate": "cli.database:migrate",
    "doctor": "cli.connections:doctor",
    "tenants": "cli.tenants:commands",
    "settings": "cli.tenant_settings:commands",
    "keys": "cli.keys:commands",
    "webhooks": "cli.webhooks:commands",
    "tokens": "cli.tokens:commands",
    "connect": "cli.connections:connect",
    "disconnect": "cli.connections:disconnect",
    "sync": "cli.sync:sync",
    "sweep": "cli.sync:sweep",
    "mapping": "cli.mapping:commands",
    "sinks": "cli.sinks:commands",
    "remap": "cli.sync:remap",
    "verify": "cli.sync:verify",
    "status": "cli.status:status",
    "backup": "cli.backup:backup",
    "restore": "cli.backup:restore",
    "dagster": "cli.database:dagster",
    "rotate-keys": "cli.encryption:rotate_keys",
    "sandbox": "sandbox.command:run_sandbox",
    "audit": "cli.audit:audit",
    "refusals": "cli.refusals:refusals",
    "dependencies": "cli.dependencies:commands",
    "bench": "cli.bench:bench",
    "serve-connect": "cli.connect_app:serve_connect",
    "serve-dagster": "cli.dagster_ui:serve_dagster",
    "serve-signals": "cli.signal_loop:serve_signals",
}
HIDDEN = {"serve-connect", "serve-dagster", "serve-signals"}
TAKING_WORDS = {"psql", "dagster", "sandbox", "serve-dagster"}


def command_line(*names: str) -> typer.Typer:
    """The command line with these commands; with all of them if none or an unknown one is named."""
    app = typer.Typer(
        name="pipedrive-pipeline",
        help="A company's CRM, complete and readable in its own Postgres, kept up to date by "
        "Dagster.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # they would show locals, which may hold a token
        rich_markup_mode=None,
        callback=_no_options,  # one command alone is a command still, not the whole program
    )
    known = [name for name in names if name in COMMANDS]
    for name in known if known and len(known) == len(names) else COMMANDS:
        command = _imported(COMMANDS[name])
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            settings = PASSED_ON if name in TAKING_WORDS else None
            app.command(name, hidden=name in HIDDEN, context_settings=settings)(command)
    return app


@contextmanager
def importing() -> Iterator[None]:
    """Keeps the garbage collector off, then and later, what the block imports.

    All of it lives until the process ends. To look at it took 9 % of the time of `status`, and 6 %
    of a sync's.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _no_options() -> None:
    pass


def _imported(path: str) -> typer.Typer | Callable[..., Any]:
    module, name = path.split(":")
    command: typer.Typer | Callable[..., Any]
    command = getattr(import_module(f"pipedrive_pipeline.{module}"), name)
    return command
