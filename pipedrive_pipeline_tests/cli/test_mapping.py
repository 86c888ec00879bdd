"""`mapping` and `remap` as docs/custom-fields.md types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal, Terminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World


@pytest.fixture
def keys(world: World, sandbox: Sandbox) -> dict[str, str]:
    """Tenant acme, synced; keys of fields by name."""
    world.connect(ACME, sandbox)
    world.first_sync()
    return {
        field.name: field.code
        for field in sandbox.account.fields["organizations"]
        if field.is_custom
    }


@pytest.mark.slow
def test_a_mapping_is_proposed_looked_at_saved_and_built(
    in_process: InProcessTerminal,
    terminal: Terminal,
    world: World,
    keys: dict[str, str],
    tmp_path: Path,
) -> None:
    """A step's output is the next step's input; a preview lists values that do not convert."""
    file = tmp_path / "m.json"
    tenant = ("--tenant", "acme")

    proposed: dict[str, Any] = in_process.run("mapping", "propose", *tenant, "--json").facts
    hint = in_process.run("mapping", "propose", *tenant).out
    proposed["organizations"] |= {
        keys["Interne Notiz"]: {"target": "attributes.note_number", "as": "number"}
    }
    file.write_text(json.dumps(proposed))
    result = in_process.run("mapping", "preview", *tenant, "--file", str(file))
    saved = in_process.run("mapping", "set", *tenant, "--file", str(file))
    built = terminal.run("remap", *tenant, "--json")

    assert proposed["organizations"][keys["Kundennummer"]] == "customer_number"
    assert [line for line in hint.splitlines() if line.startswith("./run ")] == [
        "./run mapping propose --tenant acme --json > m.json",
        "./run mapping preview --tenant acme --file m.json",
        "./run mapping set --tenant acme --file m.json",
    ]
    assert "is no number" in result.out
    assert "version 1 is active" in saved.out
    assert (built.code, built.facts["marts"]["customers"]["updated"]) == (0, 12)
    assert any(row["customer_number"] for row in world.rows("crm", "customers"))
    refused = {row["target"] for row in world.rows("integration", "rejected_values")}
    assert "attributes.note_number" in refused
    assert "Kundennummer" in in_process.run("mapping", "show", *tenant).out


@pytest.mark.slow
def test_an_entry_that_cannot_be_used_is_named(
    in_process: InProcessTerminal, keys: dict[str, str], tmp_path: Path
) -> None:
    """Somebody must act: the field, the reason, and what would help."""
    file = tmp_path / "m.json"
    file.write_text(json.dumps({"organizations": {keys["Mitarbeiter"]: "employee_count"}}))

    result = in_process.run("mapping", "set", "--tenant", "acme", "--file", str(file))

    assert result.code == 4
    assert keys["Mitarbeiter"] in result.err
    assert '"as": "number"' in result.err.replace("\n", " ")
