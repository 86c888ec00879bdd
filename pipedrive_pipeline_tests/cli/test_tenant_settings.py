"""`settings`: the names and limits of the API's `sync-config`, on the command line."""

from __future__ import annotations

import pytest

from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal

TENANT = ("--tenant", "acme", "--system", "pipedrive")  # the suite has two systems registered


def test_settings_are_shown_changed_and_unset(in_process: InProcessTerminal) -> None:
    in_process.run("tenants", "add", "acme", "--time-zone", "Europe/Berlin")
    words = ("sync_time=03:15", "entities_off=none", "budget_share=0.25", "every_hours=6")
    more = ("sync_persons=off", "entity_cycles=notes:48,leads:0", "writes_allowed=notes,deals")
    changed = in_process.run("settings", "set", *TENANT, *words, "alert_urls=https://example.com/x")
    in_process.run("settings", "set", *TENANT, *more)
    unset = in_process.run("settings", "set", *TENANT, "every_hours=none")
    facts = in_process.run("settings", "show", *TENANT, "--json").facts
    table = in_process.run("settings", "show", *TENANT).out

    assert (changed.code, unset.code) == (0, 0), changed.err
    assert facts["sync_time"] == "03:15"
    assert (facts["sync_persons"], facts["entities_off"]) == (False, ["persons"])
    assert facts["entity_cycles"]["notes"] == 48
    assert facts["entity_cycles"]["leads"] == 0
    assert facts["writes_allowed"] == ["deals", "notes"]
    assert facts["budget_share"] == 0.25
    assert facts["every_hours"] is None
    assert facts["alert_urls"] == ["https://***"]
    assert "03:15" in table
    assert in_process.run("tenants", "list", "--json").facts[0]["time_zone"] == "Europe/Berlin"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("sync_time=25:00", "sync_time"),
        ("budget_share=7", "budget_share"),
        ("time_zone=Mars/Olympus", "time_zone"),
        ("entities_off=deels", "deels"),
        ("entity_cycles=deels:24", "deels"),
        ("writes_allowed=deels", "deels"),
        ("entity_cycles=notes:9000", "entity_cycles"),
        ("colour=blue", "sync_time"),  # the names that there are
        ("sync_time", "NAME=VALUE"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_saved(
    in_process: InProcessTerminal, change: str, named: str
) -> None:
    in_process.run("tenants", "add", "acme")
    before = in_process.run("settings", "show", *TENANT, "--json").facts

    refused = in_process.run("settings", "set", *TENANT, "sync_persons=off", change)

    assert refused.code == 2
    assert named in refused.error
    assert in_process.run("settings", "show", *TENANT, "--json").facts == before


def test_a_tenant_in_no_known_time_zone_is_refused(in_process: InProcessTerminal) -> None:
    refused = in_process.run("tenants", "add", "acme", "--time-zone", "Mars/Olympus")

    assert refused.code == 2
    assert "Mars/Olympus" in refused.error
