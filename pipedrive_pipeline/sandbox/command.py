"""The command ``pipedrive-pipeline sandbox``: serves the look-alike of one system.

Each package next to ``kit`` has a module ``command`` with a function `run_sandbox`, whose options
are those of its system.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

FOLDER = Path(__file__).parent


def look_alikes() -> list[str]:
    """The keys of the systems that have a look-alike."""
    folders = (module.name for module in pkgutil.iter_modules([str(FOLDER)]) if module.ispkg)
    return [name for name in folders if (FOLDER / name / "command.py").exists()]


def run_sandbox(
    context: typer.Context,
    system: Annotated[
        str | None, typer.Option(help="Which system to imitate, where there are several.")
    ] = None,
    shows_help: Annotated[bool, typer.Option("--help", help="Show the options of it.")] = False,
) -> None:
    """Run a make-believe company of one system on this machine, until interrupted."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    key = _chosen(system)
    app.command(help=context.command.help)(
        import_module(f"pipedrive_pipeline.sandbox.{key}.command").run_sandbox
    )
    code = typer.main.get_command(app).main(
        args=[*context.args, *(["--help"] if shows_help else [])],
        prog_name=f"{context.command_path} --system {key}",
        standalone_mode=False,
    )
    if code:
        raise typer.Exit(code)


def _chosen(system: str | None) -> str:
    known = look_alikes()
    if system is None and len(known) == 1:
        return known[0]
    if system in known:
        return system
    raise typer.BadParameter(f"choose one of: {', '.join(known)}.", param_hint="--system")
