"""`keys add`, `list` and `revoke`."""

from __future__ import annotations

import pytest

from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal
from pipedrive_pipeline_tests.scenarios.world import World


@pytest.mark.slow
def test_a_key_is_made_shown_once_listed_and_revoked(
    in_process: InProcessTerminal, world: World
) -> None:
    in_process.run("tenants", "add", "acme")
    empty = in_process.run("keys", "list", "--tenant", "acme")
    words = ("keys", "add", "--tenant", "acme", "--role")
    result = in_process.run(*words, "manager", "--name", "our app")
    other = in_process.run(*words, "user", "--json").facts
    listed = in_process.run("keys", "list", "--tenant", "acme", "--json").facts
    shown = in_process.run("keys", "list", "--tenant", "acme").out
    prefix = listed[0]["prefix"]
    revoked = in_process.run("keys", "revoke", "--tenant", "acme", "--key", prefix)
    again = in_process.run("keys", "revoke", "--tenant", "acme", "--key", "nothing")

    key = result.out.splitlines()[0]
    assert "keys add --tenant acme" in empty.out
    assert key.startswith(prefix)
    assert (key in shown, other["key"] in shown) == (False, False)
    assert [(row["name"], row["role"]) for row in listed] == [
        ("our app", "manager"),
        ("command line", "user"),
    ]
    assert revoked.out == f"acme: {prefix} (our app) is revoked.\n"
    assert again.code == 2
    assert "keys list --tenant acme" in again.error
    states = [bool(row["revoked_at"]) for row in world.rows("integration", "api_keys", "role")]
    assert states == [True, False]
    actions = [row["action"] for row in world.rows("integration", "audit_log")]
    assert actions == ["tenant.add", "key.add", "key.add", "key.revoke"]


def test_a_key_of_no_tenant_is_refused(in_process: InProcessTerminal) -> None:
    result = in_process.run("keys", "add", "--tenant", "nobody", "--role", "user")

    assert result.code == 2
    assert "tenants add nobody" in result.error


def test_a_key_may_expire(in_process: InProcessTerminal, world: World) -> None:
    in_process.run("tenants", "add", "acme")
    in_process.run("keys", "add", "--tenant", "acme", "--role", "user", "--days", "30")

    (row,) = world.rows("integration", "api_keys", "role")

    assert round((row["expires_at"] - row["created_at"]).total_seconds() / 86_400, 2) == 30
