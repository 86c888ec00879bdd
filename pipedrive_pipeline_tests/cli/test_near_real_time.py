"""Near real time on the command line: its setting, and where it says why it is off."""

from __future__ import annotations

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.webhooks import lifecycle
from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World


def test_each_command_says_why_near_real_time_is_off(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    """First the daemon has not looked, then the tenant does not want it."""
    world.connect(ACME, sandbox)
    unseen = in_process.run("doctor", "--tenant", "acme", "--system", SYSTEM)
    in_process.run("settings", "set", "--tenant", "acme", "near_real_time=false")
    lifecycle.look_at(world.warehouse, world.settings, Scope(ACME, SYSTEM))
    status = in_process.run("status", "--tenant", "acme")
    facts = in_process.run("status", "--tenant", "acme", "--json").facts[0]["near_real_time"]
    doctor = in_process.run("doctor", "--tenant", "acme", "--system", SYSTEM)

    assert "near real time" in unseen.out
    assert "the sensor webhooks" in " ".join(unseen.out.split())
    assert doctor.code == status.code == 0
    assert facts["state"] == "off"
    assert "near real time is off: it is switched off" in status.err
    assert "switched off" in doctor.out
