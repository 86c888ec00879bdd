"""An alert is sent once, and once more when its cause is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from pipedrive_pipeline.errors import GuardTripped, NotConnected, ReauthNeeded
from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.status.alerts import OVERDUE, Cause, raise_alert, raise_unless_open
from pipedrive_pipeline.sync.status.doctor import Finding, examine
from pipedrive_pipeline.vault.disconnect import disconnect
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline_tests.scenarios.receiver import receiver
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

REVOKED = "acme: needs_reauth, a person must act"
HEALED = "acme: works again"


@contextmanager
def listening(world: World) -> Iterator[tuple[World, list[dict[str, Any]]]]:
    """The world with an address for alerts, and what arrives there."""
    with receiver() as (address, arrived):
        yield at(world, address), arrived


def at(world: World, *addresses: str) -> World:
    """The world with these addresses for alerts."""
    secrets = tuple(SecretStr(address) for address in addresses)
    return replace(world, settings=world.settings.model_copy(update={"alert_urls": secrets}))


def titles(arrived: list[dict[str, Any]]) -> list[str]:
    return [alert["title"] for alert in arrived]


def overdue() -> Cause:
    return Cause(ACME, SYSTEM, OVERDUE, "acme: no sync since Monday.", "the operator")


@pytest.mark.slow
def test_a_revoked_tenant_alerts_once_and_again_when_it_works(
    world: World, sandbox: Sandbox
) -> None:
    """An alert a night for the same cause is an alert that nobody reads."""
    with listening(world) as (alerted, arrived):
        sandbox.revoke()
        for _ in range(2):
            with pytest.raises(ReauthNeeded):
                alerted.sync()
        alerted.connect(ACME, sandbox)
        alerted.sync()
        alerted.sync()

    assert titles(arrived) == [REVOKED, HEALED]
    assert "connect --tenant acme" in arrived[0]["message"]
    assert "Who must act: the tenant." in arrived[0]["message"]


def of_connection(findings: list[Finding]) -> Finding:
    """What the test of acme's connection found."""
    return next(finding for finding in findings if finding.check == "tenant acme")


@pytest.mark.slow
def test_a_test_that_finds_a_dead_token_tells_it_once_and_the_next_run_not_again(
    world: World, sandbox: Sandbox
) -> None:
    """A run by day reports what the nightly run would have reported."""
    with listening(world) as (alerted, arrived):
        sandbox.revoke()
        for _ in range(2):
            findings = examine(alerted.warehouse, alerted.settings, ACME, SYSTEM)
            assert isinstance(of_connection(findings).error, ReauthNeeded)
        with pytest.raises(ReauthNeeded):
            alerted.sync()

    assert titles(arrived) == [REVOKED]
    assert "Run:" not in arrived[0]["message"]


@pytest.mark.slow
def test_a_test_of_a_tenant_that_is_not_connected_tells_nobody_else(world: World) -> None:
    disconnect(open_vault(world.warehouse, world.settings), Scope(ACME, SYSTEM), who="a test")
    with listening(world) as (alerted, arrived):
        findings = examine(alerted.warehouse, alerted.settings, ACME, SYSTEM)

    assert isinstance(of_connection(findings).error, NotConnected)
    assert arrived == []


@pytest.mark.slow
def test_a_rebuild_without_a_call_does_not_say_that_a_revoked_tenant_works(
    world: World, sandbox: Sandbox
) -> None:
    """It asks the source nothing, so it proves nothing about the connection."""
    with listening(world) as (alerted, arrived):
        alerted.sync()
        sandbox.revoke()
        with pytest.raises(ReauthNeeded):
            alerted.sync()
        with alerted.run(sync_type="remap") as run:
            run.build_marts()

    assert titles(arrived) == [REVOKED]


@pytest.mark.slow
def test_a_read_of_changes_does_not_say_that_a_guard_is_satisfied(
    world: World, sandbox: Sandbox
) -> None:
    """It sees no deletions; only another sweep can tell."""
    with listening(world) as (alerted, arrived):
        alerted.sync(sync_type="full")
        for record in range(1, 61):
            sandbox.account.delete("persons", record)
        with pytest.raises(GuardTripped):
            alerted.sync(sync_type="sweep")
        alerted.sync()
        told_before_the_sweep = titles(arrived)
        alerted.sync(sync_type="sweep", is_confirmed=True)

    assert told_before_the_sweep == ["acme: guard_tripped, a person must act"]
    assert titles(arrived)[1:] == [HEALED]


@pytest.mark.slow
def test_an_alert_that_did_not_arrive_is_sent_with_the_next_run(
    world: World, sandbox: Sandbox
) -> None:
    """A mail server that is down for an hour must not swallow the only word about a tenant."""
    sandbox.revoke()
    with pytest.raises(ReauthNeeded):
        at(world, "json://127.0.0.1:9/").sync()  # nothing listens on the discard port

    with listening(world) as (alerted, arrived), pytest.raises(ReauthNeeded):
        alerted.sync()

    assert titles(arrived) == [REVOKED]


@pytest.mark.slow
def test_a_tenant_whose_cause_is_known_sends_no_overdue_alert(world: World) -> None:
    with listening(world) as (alerted, arrived):
        known = replace(overdue(), code="needs_reauth")
        raise_alert(alerted.warehouse, alerted.settings, known)
        raise_unless_open(alerted.warehouse, alerted.settings, [overdue()])

    assert titles(arrived) == [REVOKED]


@pytest.mark.slow
def test_an_overdue_tenant_alerts_once_and_again_when_it_works(world: World) -> None:
    with listening(world) as (alerted, arrived):
        for _ in range(2):
            raise_unless_open(alerted.warehouse, alerted.settings, [overdue()])
        alerted.sync()

    assert titles(arrived) == ["acme: overdue, a person must act", HEALED]
