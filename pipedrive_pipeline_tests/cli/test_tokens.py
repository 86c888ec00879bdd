"""`tokens export` and `list`."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World


@pytest.mark.slow
def test_an_export_says_what_is_missing_and_gives_no_api_token_away(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    world.connect(ACME, sandbox)
    words = ("tokens", "export", "--tenant", "acme")
    without_reader = in_process.run(*words)
    with_api_token = in_process.run(*words, "--reader", "postgres")
    off = in_process.run(*words, "--off")
    listed = in_process.run("tokens", "list")
    changed = in_process.run("tenants", "change", "acme", "--country", "AT")

    assert without_reader.code == 2
    assert "--reader ROLE" in without_reader.error
    assert with_api_token.code == 4
    assert "API token" in with_api_token.error
    assert (off.code, off.out) == (0, "acme: was not exported.\n")
    assert "tokens export --tenant T --reader ROLE" in listed.out
    assert "country changed" in changed.out
    assert "remap --tenant acme" in changed.out
