"""`dependencies`: what this installation consists of, under which licences, and known advisories.

The lock file is read by uv, which `./run` brings. Source: https://docs.astral.sh/uv/reference/cli/.
"""

from __future__ import annotations

import json
import os
import subprocess
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

import typer

from pipedrive_pipeline.cli.options import AsJson
from pipedrive_pipeline.cli.output import print_json, print_table
from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.settings import PROJECT_ROOT

commands = typer.Typer(
    help="Bill of materials, licences and known advisories of the locked dependencies.",
    no_args_is_help=True,
)
LICENCE_CLASSIFIER = "License :: "
COLUMNS = ("package", "version", "licence")
LOCKED = ("--project", str(PROJECT_ROOT), "--frozen", "--no-dev")


@commands.command()
def sbom() -> None:
    """Print a CycloneDX bill of materials of uv.lock, with hashes and licences, as JSON."""
    print_json(_bill())


@commands.command()
def licences(json: AsJson = False) -> None:
    """List each locked package with its version and licence."""
    packages = [
        (component["name"], component["version"], licence_of(component["name"]) or "not installed")
        for component in _bill()["components"]
    ]
    if json:
        print_json(
            [dict(zip(("name", "version", "licence"), row, strict=True)) for row in packages]
        )
    else:
        print_table("", ("package", "version", "licence"), packages)


@commands.command()
def audit() -> None:
    """Compare the locked versions with the advisories of osv.dev; fails if one has an advisory."""
    command = [_uv(), "audit", "--no-progress", *LOCKED]
    done = subprocess.run(command, check=False)  # noqa: S603 - uv's own path
    if done.returncode:
        raise typer.Exit(done.returncode)


def licence_of(package: str) -> str | None:
    """The licence that an installed package states; None if it is not installed or states none."""
    try:
        facts = metadata(package)
    except PackageNotFoundError:
        return None
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in facts.get_all("Classifier", [])
        if line.startswith(LICENCE_CLASSIFIER)
    ]
    stated = facts.get_all("License-Expression", []) or classifiers or facts.get_all("License", [])
    return " or ".join(stated).partition("\n")[0] or None


def _bill() -> dict[str, Any]:
    command = [_uv(), "export", "--quiet", "--format", "cyclonedx1.5", "--all-extras", *LOCKED]
    exported = subprocess.run(  # noqa: S603 - uv's own path
        command,
        capture_output=True,
        text=True,
        check=False,
    )
    if exported.returncode:
        raise BadInput(f"uv could not read uv.lock: {exported.stderr.strip()[-300:]}")
    bill: dict[str, Any] = json.loads(exported.stdout)
    for component in bill["components"]:
        if licence := licence_of(component["name"]):
            component["licenses"] = [{"license": {"name": licence}}]
    return bill


def _uv() -> str:
    """The uv that started this command.

    Raises:
        BadInput: none did.
    """
    if not os.environ.get("UV"):
        raise BadInput("this command needs uv; run it as `./run dependencies …`, which brings it.")
    return os.environ["UV"]
