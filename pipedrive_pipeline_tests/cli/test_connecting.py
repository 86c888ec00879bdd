"""`connect`, `disconnect`, `doctor` and `rotate-keys`, as an operator uses them."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline_tests.cli.terminal import CommandResult, InProcessTerminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World
from pipedrive_pipeline_tests.waiting import free_port

SCOPE = ("--tenant", "acme", "--system", "pipedrive")  # the suite has two systems registered


def connect(in_process: InProcessTerminal, sandbox: Sandbox, *more: str) -> CommandResult:
    token = ("--api-token", sandbox.api_token, "--api-url", sandbox.url)
    return in_process.run("connect", *SCOPE, *token, *more)


@pytest.mark.slow
def test_doctor_says_as_whom_a_tenant_works_and_what_that_user_cannot_see(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    """Pipedrive leaves hidden records out without a word; somebody has to say so."""
    world.connect(ACME, sandbox)
    as_admin = in_process.run("doctor", "--tenant", "acme", "--json")
    sandbox.revoke()

    after = in_process.run("doctor", "--tenant", "acme", "--json")

    assert as_admin.code == 0
    before_revocation, after_it = (
        next(finding for finding in result.facts if finding["check"] == "tenant acme")
        for result in (as_admin, after)
    )
    assert before_revocation["finding"].startswith("works: ")
    assert after.code == 4
    assert after_it["code"] == "needs_reauth"


@pytest.mark.slow
def test_another_company_is_refused_until_the_flag_says_that_it_is_meant(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    world.connect(ACME, sandbox)
    world.first_sync()
    customer_count = len(world.rows("crm", "customers"))
    account = seeded(3, 5)
    account.company_id, account.company_name = 8, "Beta Sandbox GmbH"
    with serve(account, api_token="b" * 40) as other:
        refused = connect(in_process, other)
        accepted = connect(in_process, other, "--other-company")

    assert refused.code == 4
    assert "--other-company" in refused.error
    assert "Beta Sandbox GmbH (id 8)" in refused.error
    assert accepted.code == 0
    marked = [row for row in world.rows("crm", "customers") if row["pipedrive_id"] is None]
    assert {row["deletion_reason"] for row in marked} == {"company_changed"}
    assert len(marked) == customer_count


@pytest.mark.slow
def test_connect_says_which_sync_is_next(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    """A company that was connected again was told to read everything, although all is there."""
    in_process.run("tenants", "add", "acme")
    first = connect(in_process, sandbox)
    world.sync(sync_type="full")

    again = connect(in_process, sandbox)

    assert "; `sync --tenant acme --full` is next." in first.out
    assert "--full" not in again.out
    assert "a sync of what changed is queued: `up` runs it, or `sync --tenant acme`." in again.out


def test_disconnect_says_what_is_left_to_do_at_the_source(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    world.connect(ACME, sandbox)

    result = in_process.run("disconnect", "--tenant", "acme")
    again = in_process.run("disconnect", "--tenant", "acme")

    assert result.code == again.code == 0
    assert "An API token cannot be revoked from here" in result.out
    assert "disconnected before" in again.out


def test_keys_rotate_and_the_old_one_may_go(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    """A key that is gone too early stops the program; no row is touched by that."""
    world.connect(ACME, sandbox)
    old = in_process.terminal.settings["TOKEN_ENCRYPTION_KEYS"]
    new = Fernet.generate_key().decode()

    early = in_process.run("rotate-keys", TOKEN_ENCRYPTION_KEYS=new)
    first = in_process.run("rotate-keys", "--json", TOKEN_ENCRYPTION_KEYS=f"{new},{old}")
    second = in_process.run("rotate-keys", TOKEN_ENCRYPTION_KEYS=f"{new},{old}")
    tested = in_process.run("doctor", "--tenant", "acme", TOKEN_ENCRYPTION_KEYS=new)

    assert early.code == 2
    assert "TOKEN_ENCRYPTION_KEYS" in early.error
    assert first.facts == {
        "resealed_count": 1,
        "current_count": 0,
        "unreadable": [],
        "unreadable_count": 0,
    }
    assert "0 secrets sealed anew, 1 had the first key" in second.out
    assert tested.code == 0


@pytest.mark.slow
def test_without_its_key_every_secret_is_given_up_and_named(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    """The Connect app does not start while one is left, so that nobody could connect again."""
    world.connect(ACME, sandbox)
    acme = ("--tenant", "acme")
    in_process.run("settings", "set", *acme, "alert_urls=https://alerts.example.com/x")
    in_process.run("webhooks", "add", *acme, "--url", "https://app.example.com", "--types", "*")
    in_process.run("webhooks", "rotate", *acme, "--webhook", webhook_of(world))
    new = Fernet.generate_key().decode()

    asked = in_process.run("rotate-keys", "--discard", TOKEN_ENCRYPTION_KEYS=new)
    kept = in_process.run("rotate-keys", "--json")
    discard = ("rotate-keys", "--discard", "--confirm")
    given_up = in_process.run(*discard, TOKEN_ENCRYPTION_KEYS=new)
    again = in_process.run("rotate-keys", "--json", TOKEN_ENCRYPTION_KEYS=new)
    shown = in_process.run("settings", "show", *acme, "--json", TOKEN_ENCRYPTION_KEYS=new)
    synced = in_process.run("sync", *acme, TOKEN_ENCRYPTION_KEYS=new)

    assert (asked.code, kept.facts["current_count"]) == (2, 4)
    assert "4 secrets would be given up" in asked.err
    assert given_up.code == 0, given_up
    assert "4 were discarded" in given_up.out
    for repair in ("connect --tenant acme --system", "set alert_urls again", "webhooks rotate"):
        assert repair in given_up.err
    assert again.facts["current_count"] == 1  # of the webhook, unknown to everybody
    assert shown.facts["alert_urls"] == []
    assert "connect" in synced.err
    with world.warehouse.transaction() as connection:
        states = connection.execute(
            "select connections.state, connections.state_reason, app_webhooks.state"
            " from integration.connections cross join integration.app_webhooks"
        ).fetchone()
    assert states == ("needs_reauth", "token_unreadable", "disabled")


def test_an_altered_secret_names_what_makes_it_new(
    in_process: InProcessTerminal, world: World, sandbox: Sandbox
) -> None:
    """Of a webhook it said to connect to a system called app."""
    world.connect(ACME, sandbox)
    acme = ("--tenant", "acme")
    in_process.run("webhooks", "add", *acme, "--url", "https://app.example.com", "--types", "*")
    webhook = webhook_of(world)
    with world.warehouse.transaction() as connection:
        connection.execute("update integration.app_webhooks set secret = left(secret, -1) || '*'")

    tested = in_process.run("webhooks", "test", *acme, "--webhook", webhook)
    rotated = in_process.run("rotate-keys")

    repair = f"webhooks rotate --tenant acme --webhook {webhook} --overlap-hours 0"
    assert repair in tested.err
    assert repair in rotated.err


def webhook_of(world: World) -> str:
    """The id of the only webhook."""
    with world.warehouse.transaction() as connection:
        row = connection.execute("select id from integration.app_webhooks").fetchone()
    assert row
    return str(row[0])


def test_flags_that_go_together_are_required_together(in_process: InProcessTerminal) -> None:
    alone = in_process.run("connect", "--tenant", "acme", "--api-token", "canary-token")
    without = in_process.run("connect", "--tenant", "acme", "--other-company")

    assert (alone.code, without.code) == (2, 2)
    assert "--api-url" in alone.error
    assert "canary" not in alone.error
    assert "--api-token" in without.error


def test_doctor_looks_at_dagsters_own_database(in_process: InProcessTerminal) -> None:
    """All was well by `doctor`, and every run failed."""
    url = f"postgresql://u@127.0.0.1:{free_port()}/dagster"

    tested = in_process.run("doctor", "--json", DAGSTER_DATABASE_URL=url)

    (finding,) = [each for each in tested.facts if each["check"] == "Dagster's database"]
    assert (finding["ok"], finding["code"], tested.code) == (False, "database_unavailable", 1)
    assert "check DAGSTER_DATABASE_URL" in finding["finding"]


def test_doctor_names_a_database_that_takes_no_writes(in_process: InProcessTerminal) -> None:
    """All was well by `doctor`, and every sync ended with "run it again"."""
    read_only = "-c default_transaction_read_only=on"

    tested = in_process.run("doctor", "--json", PGOPTIONS=read_only)

    database = tested.facts[0]
    assert (database["ok"], database["code"], tested.code) == (False, "database_unavailable", 1)
    assert "a standby, or default_transaction_read_only is on" in database["finding"]
