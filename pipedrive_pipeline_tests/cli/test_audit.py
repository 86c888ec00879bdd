"""`audit`: the audit log on the command line."""

from __future__ import annotations

from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal


def test_who_did_what_is_listed_newest_first(in_process: InProcessTerminal) -> None:
    """The API shows it to an admin of one tenant; the operator had to ask for it in SQL."""
    nothing = in_process.run("audit")
    in_process.run("tenants", "add", "acme")
    in_process.run("tenants", "add", "beta")
    in_process.run("keys", "add", "--tenant", "acme", "--role", "user")
    in_process.run("tenants", "remove", "beta")

    every = in_process.run("audit", "--json").facts
    newest = in_process.run("audit", "--limit", "1", "--json").facts
    removed = in_process.run("audit", "--tenant", "beta", "--json").facts
    shown = in_process.run("audit", "--tenant", "acme").out

    assert nothing.out == "Nothing was done yet.\n"
    assert [(entry["tenant_id"], entry["action"]) for entry in every] == [
        ("beta", "tenant.remove"),
        ("acme", "key.add"),
        ("beta", "tenant.add"),
        ("acme", "tenant.add"),
    ]
    assert newest == every[:1]
    assert [entry["action"] for entry in removed] == ["tenant.remove", "tenant.add"]
    assert "key.add" in shown
    assert "beta" not in shown
