"""The commands of docs/events.md, typed as they stand."""

from __future__ import annotations

import json
import re

import pytest

from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World

PAGE = (PROJECT_ROOT / "docs" / "events.md").read_text()
PLACEHOLDER = "0123abcd"


def commands() -> list[list[str]]:
    """The words of every shell line of the page after `./run`."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.replace('"', "").split()[1:] for line in lines]


@pytest.mark.slow
def test_the_commands_of_the_page_work_as_they_are_typed(
    in_process: InProcessTerminal, world: World
) -> None:
    """In the order of the page: a webhook is made, tested, and removed at the end."""
    registry.add(world.warehouse, world.settings, ACME)
    add, *others = commands()
    made = in_process.run(*add)
    listed = in_process.run("webhooks", "list", "--tenant", "acme", "--json")
    (webhook,) = json.loads(listed.out)
    # Nobody is there: the test must fail, and no name must be looked up outside.
    with world.warehouse.transaction() as connection:
        connection.execute("update integration.app_webhooks set url = 'https://127.0.0.1:1/x'")
    codes, outs = {}, {}
    for words in others:
        typed = [webhook["id"][:8] if word == PLACEHOLDER else word for word in words]
        result = in_process.run(*typed)
        codes[words[1]], outs[words[1]] = result.code, result.out

    assert made.out.startswith("whsec_")
    assert webhook["event_types"] == ["deal.*", "person.*"]
    assert "whsec_" not in listed.out
    assert codes == dict.fromkeys(codes, 0) | {"test": 1}
    assert set(codes) == {"list", "test", "log", "pause", "resume", "rotate", "replay", "remove"}
    assert outs["rotate"].startswith("whsec_")
    assert "0 events wait" in outs["replay"]
    assert "no webhooks yet" in in_process.run("webhooks", "list", "--tenant", "acme").out


@pytest.mark.slow
def test_what_cannot_be_done_says_why(in_process: InProcessTerminal, world: World) -> None:
    registry.add(world.warehouse, world.settings, ACME)
    acme = ("--tenant", "acme")

    refused = {
        name: in_process.run("webhooks", *words)
        for name, words in {
            "private": ("add", *acme, "--url", "https://10.0.0.1/x", "--types", "*"),
            "unknown type": ("add", *acme, "--url", "https://app.example.com", "--types", "x.y"),
            "unknown webhook": ("pause", *acme, "--webhook", "ffff"),
            "no offset": (*("replay", *acme, "--webhook", "f", "--since", "2026-11-30T08:00:00"),),
        }.items()
    }

    assert {result.code for result in refused.values()} == {2}
    assert "EVENT_ALLOWED_HOSTS" in refused["private"].err
    assert "deal.won" in refused["unknown type"].err
    assert "webhooks list" in refused["unknown webhook"].err
    assert "offset" in refused["no offset"].err
