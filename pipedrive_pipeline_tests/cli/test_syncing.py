"""`sync` and `sweep` as they are typed."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.cli.terminal import Terminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World


@pytest.mark.slow
def test_one_entity_alone_is_read_and_built(
    terminal: Terminal, world: World, sandbox: Sandbox
) -> None:
    """The run is part of a job, and ended before it began: its resource stood there twice."""
    world.connect(ACME, sandbox)

    said = terminal.run("sync", "--tenant", "acme", "--entity", "persons", "--json")

    assert said.code == 0, said.err
    assert list(said.facts["entities"]) == ["persons"]
    assert said.facts["contacts"]["created"] == 35


@pytest.mark.slow
def test_a_sweep_marks_what_is_gone_and_proves_the_rest(
    terminal: Terminal, world: World, sandbox: Sandbox
) -> None:
    world.connect(ACME, sandbox)
    world.sync(sync_type="full")
    sandbox.account.delete("persons", 3)
    spent_before, calls_before = sandbox.requests.tokens_spent, sandbox.requests.count

    said = terminal.run("sweep", "--tenant", "acme", "--json")

    assert said.code == 0, said.err
    assert said.facts["tokens_spent"] == sandbox.requests.tokens_spent - spent_before
    assert said.facts["api_calls"] == sandbox.requests.count - calls_before
    assert said.facts["contacts"]["deleted"] == 1
    persons = said.facts["entities"]["persons"]
    assert (persons["missing"], persons["extra"], persons["stale"]) == (0, 0, 0)
