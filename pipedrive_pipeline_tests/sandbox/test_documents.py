"""What the documents list and what the sandbox has are the same."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from pipedrive_pipeline.sandbox import Options
from pipedrive_pipeline.sandbox.kit.control_messages import WebhookCommand
from pipedrive_pipeline.sandbox.pipedrive import control_messages, edits
from pipedrive_pipeline.sandbox.pipedrive.command import run_sandbox
from pipedrive_pipeline.sandbox.pipedrive.faults import KINDS
from pipedrive_pipeline.sandbox.pipedrive.serving import INTERFACE
from pipedrive_pipeline.sandbox.pipedrive.world.awkward import AWKWARD

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "sandbox.md").read_text()
TRY = (DOCS / "try-without-an-account.md").read_text()


def _words(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def _part(heading: str) -> str:
    return REFERENCE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_every_setting_is_documented() -> None:
    documented = re.findall(r"\w+", " ".join(_words(REFERENCE)))

    assert {field.name for field in fields(Options)} <= set(documented)


def test_the_table_of_faults_names_all_of_them_and_no_others() -> None:
    first_columns = re.findall(r"^\| (`.*?) \|", _part("Faults"), re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(first_columns))

    assert sorted(named) == sorted(KINDS.names)


@pytest.mark.parametrize(
    "messages", [edits.EditCommand, control_messages.GrantCommand, WebhookCommand]
)
def test_every_action_of_the_control_routes_is_documented(messages: object) -> None:
    actions = {message.__struct_config__.tag for message in get_args(messages)}

    assert actions <= _words(_part("Control"))


def test_every_control_route_is_documented() -> None:
    assert {f"POST /_sandbox/{name}" for name in INTERFACE.commands} <= _words(_part("Control"))


def test_every_awkward_row_is_documented() -> None:
    for entity, rows in AWKWARD.items():
        line = next(line for line in REFERENCE.splitlines() if line.startswith(f"| {entity} |"))
        assert list(rows) == re.findall(r"`(\w+)`", line)


def test_every_flag_in_the_guide_exists() -> None:
    app = typer.Typer()
    app.command()(run_sandbox)
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    named = set(re.findall(r"--[a-z][a-z-]+", TRY)) - {"--tenant", "--api-url", "--sandbox"}

    assert len(named) > 8
    assert all(re.search(rf"{flag}\b", text) for flag in named)
