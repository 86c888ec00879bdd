"""Help everywhere, with one sentence, and JSON where facts are printed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from pipedrive_pipeline.cli import command_line
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World


def commands(
    group: object = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, TyperCommand]]:
    """Every command with the words that lead to it, the hidden one too."""
    command = group or typer.main.get_command(command_line())
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        assert isinstance(command, TyperCommand)
        yield " ".join(path), command


def options_of(command: TyperCommand) -> set[str]:
    """Every spelling of every option of a command."""
    return {spelling for parameter in command.params for spelling in parameter.opts}


@pytest.mark.parametrize(("words", "command"), list(commands()))
def test_a_command_and_each_of_its_options_says_what_it_is(
    words: str, command: TyperCommand
) -> None:
    sentence = (command.help or "").split("\n\n")[0]

    assert sentence.endswith("."), words
    for parameter in command.params:
        if isinstance(parameter, TyperOption):
            assert parameter.help, f"{words} {parameter.opts}"


def test_help_is_answered_without_a_warehouse(in_process: InProcessTerminal) -> None:
    for words, command in commands():
        result = in_process.run(
            *words.split(), "--help", DATABASE_URL="postgresql://127.0.0.1:9/none"
        )

        assert result.code == 0, words
        assert " ".join((command.help or "").split())[:40] in " ".join(result.out.split())


@pytest.mark.slow
def test_json_is_json(in_process: InProcessTerminal, world: World, sandbox: Sandbox) -> None:
    """Also where a tenant never ran, or nothing is there."""
    nothing = [in_process.run(*words, "--json") for words in (("tenants", "list"), ("status",))]
    world.connect(ACME, sandbox)
    world.first_sync()
    status = in_process.run("status", "--tenant", "acme", "--json").facts
    doctor = in_process.run("doctor", "--json").facts

    assert [result.facts for result in nothing] == [[], []]
    assert (status[0]["state"], status[0]["rows"]["customers"]) == ("connected", 12)
    assert all(finding["ok"] for finding in doctor)
