"""`up`: a whole up from one command, walked through by HTTP alone."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from pipedrive_pipeline.errors import ExitCode
from pipedrive_pipeline.sandbox import seeded, serve
from pipedrive_pipeline.warehouse.embedded import running_server
from pipedrive_pipeline_tests.cli.running_up import RunningUp, running_up
from pipedrive_pipeline_tests.cli.terminal import Terminal
from pipedrive_pipeline_tests.connect.browser import ROUTES
from pipedrive_pipeline_tests.waiting import wait_until

LIVE = "select pipedrive_id, id from crm.customers where deleted_at is null order by 1"
NOTHING_RUNS = """
select
where not exists (select from integration.runs where status = 'running')
    and not exists (select from integration.sync_requests where settled_at is null)
"""
ACCESS_TOKENS = 'select access_token as "sealed" from integration.connections'


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pp-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # root's server runs as an account that must reach it
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tenants_whole_life_by_http_alone(home: Path) -> None:
    """One start for all of it: each takes half a minute."""
    with running_up(home) as up:
        for name in ("dagster", "connect", "sandbox"):
            assert httpx.get(up.urls[name], follow_redirects=True).status_code == 200
        up.synced(1)  # the connection requested the run and a sensor started it
        first = up.rows(LIVE)
        assert len(first) == _organizations(up)

        an_edit_arrives_in_near_real_time(up)
        first = up.rows(LIVE)
        a_second_up_is_refused(up)
        another_installation_names_who_has_the_port(up)
        a_second_terminal_needs_no_setting(up)
        a_code_server_that_dies_is_started_again(up)
        another_site_cannot_command_dagster(up)
        the_same_company_comes_back(up)
        assert up.rows(LIVE) == first
        another_company_comes(up)
        assert _former(up) == first
        assert {row["id"] for row in up.rows(LIVE)}.isdisjoint(row["id"] for row in first)
        no_secret_lies_about(up)

        assert up.terminal.run("down").code == 0
        assert up.process.wait(10) == 0
        assert up.processes() == []
        assert running_server(up.home) is None
        assert not (up.home / "up.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_sandbox_enters_no_installation_with_a_real_tenant(home: Path) -> None:
    """`up` without an OAuth app once replaced the allowed hosts and added an invented company."""
    with serve(seeded(12, 35)) as real_crm:
        hosts = {"PIPEDRIVE_ALLOWED_HOSTS": "127.0.0.1,*.pipedrive.com"}
        terminal = Terminal({"PIPELINE_HOME": str(home), **hosts})
        words = ("--api-token", real_crm.api_token, "--api-url", real_crm.url)
        assert terminal.run("tenants", "add", "acme").code == 0
        assert (
            terminal.run("connect", "--tenant", "acme", "--system", "pipedrive", *words).code == 0
        )

        with running_up(home, None, **hosts) as up:
            urls, tenants = up.urls, up.rows("select slug from integration.tenants")
            real = up.terminal.run("doctor", "--tenant", "acme")
            demo = up.terminal.run("demo")
            os.kill(up.urls["pid"], signal.SIGKILL)
            wait_until(lambda: not _servers(up), 30)  # they end with it, however it ends
        with running_up(home, None, "--sandbox", **hosts) as up:
            with_sandbox = up.rows("select slug from integration.tenants order by 1")
            both = [up.terminal.run("doctor", "--tenant", name) for name in ("acme", "sandbox")]

    assert "sandbox" not in urls
    assert [row["slug"] for row in tenants] == ["acme"]
    assert real.code == 0, real.out
    assert demo.code == ExitCode.BUSY
    assert [row["slug"] for row in with_sandbox] == ["acme", "sandbox"]
    assert [result.code for result in both] == [0, 0], both


def _servers(up: RunningUp) -> list[psutil.Process]:
    return [process for process in up.processes() if process.pid != up.process.pid]


def an_edit_arrives_in_near_real_time(up: RunningUp) -> None:
    """The sandbox calls back on loopback; nothing had to be set."""
    up.wait("select from integration.webhooks where state = 'live'")
    up.wait(NOTHING_RUNS)
    organization = up.rows(LIVE)[0]["pipedrive_id"]
    edit = {"action": "edit", "entity": "organizations", "values": {"name": "Told by a webhook"}}
    url = f"{up.urls['sandbox']}/_sandbox/edit"
    httpx.post(url, json={**edit, "ids": [organization]}).raise_for_status()

    up.wait("select from crm.customers where name = 'Told by a webhook'")
    status = up.terminal.run("status", "--tenant", "sandbox", "--json").facts[0]
    assert status["near_real_time"]["state"] == "live"
    assert status["near_real_time"]["last_event_at"] is not None
    assert "near real time is live" in (up.home / "up.log").read_text()


def a_second_up_is_refused(up: RunningUp) -> None:
    result = up.terminal.run("up")

    assert result.code == ExitCode.BUSY
    assert f"already running in {up.home}: pid {up.urls['pid']}" in result.error
    assert up.urls["connect"] in result.error


def another_installation_names_who_has_the_port(up: RunningUp) -> None:
    with tempfile.TemporaryDirectory(prefix="pp-") as other:
        result = up.terminal.run("up", PIPELINE_HOME=other)

    assert result.code == ExitCode.USAGE
    assert f"port {up.terminal.settings['DAGSTER_PORT']} is taken" in result.error
    assert f"the installation in {up.home}" in result.error


def a_second_terminal_needs_no_setting(up: RunningUp) -> None:
    """No variable but the folder: a person opens another window and types."""
    terminal = Terminal({"PIPELINE_HOME": str(up.home)})
    words = ("--api-token", "wrong", "--api-url", "http://127.0.0.1:1")

    doctor = terminal.run("doctor", "--tenant", "sandbox", "--json")
    assert terminal.run("tenants", "add", "acme").code == 0
    not_listed = terminal.run("connect", "--tenant", "acme", "--system", "pipedrive", *words)
    assert terminal.run("tenants", "remove", "acme").code == 0

    assert doctor.code == 0, doctor.out
    assert "set PIPEDRIVE_ALLOWED_HOSTS=*.pipedrive.com,127.0.0.1" in not_listed.error


def a_code_server_that_dies_is_started_again(up: RunningUp) -> None:
    up.wait(NOTHING_RUNS)  # its runs end with it
    (server,) = [process for process in up.processes() if "--socket" in process.cmdline()]
    query = "{workspaceOrError {... on Workspace {locationEntries {loadStatus}}}}"

    server.kill()

    def is_loaded() -> bool:
        answer = httpx.post(f"{up.urls['dagster']}/graphql", json={"query": query}, timeout=30)
        is_noted = "Dagster code server ended by itself" in (up.home / "up.log").read_text()
        return is_noted and "LOADED" in answer.text

    wait_until(is_loaded, 60)


def another_site_cannot_command_dagster(up: RunningUp) -> None:
    """A page that is open in the operator's browser can send these requests by itself."""
    graphql = f"{up.urls['dagster']}/graphql"
    query = {"query": "{__typename}"}

    by_get = httpx.get(graphql, params=query)
    by_form = httpx.post(graphql, data=query)
    by_rebinding = httpx.post(graphql, json=query, headers={"host": "evil.example"})
    by_script = httpx.post(graphql, json=query)

    assert [answer.status_code for answer in (by_get, by_form, by_rebinding)] == [403, 403, 403]
    assert by_script.json() == {"data": {"__typename": "Query"}}
    assert by_script.headers["x-frame-options"] == "DENY"


def the_same_company_comes_back(up: RunningUp) -> None:
    with up.operator() as operator, up.browser() as browser:
        ended = operator.delete(f"{ROUTES}/disconnect").json()["data"]
        assert (ended["state"], ended["isRevoked"]) == ("disconnected", True)
        assert operator.post(f"{ROUTES}/test").status_code == 404

        confirmed = browser.post(f"{ROUTES}/confirm", data=up.consented(browser))

        assert confirmed.status_code == 303
        assert operator.get(f"{ROUTES}/status").json()["data"]["state"] == "connected"
    up.synced(2)


def another_company_comes(up: RunningUp) -> None:
    other = {"action": "company", "company_id": 8, "name": "Beta Sandbox GmbH"}
    httpx.post(f"{up.urls['sandbox']}/_sandbox/grants", json=other).raise_for_status()
    with up.operator() as operator, up.browser() as browser:
        form = up.consented(browser)

        refused = browser.post(f"{ROUTES}/confirm", data=form)
        company_name = operator.get(f"{ROUTES}/status").json()["data"]["company"]["name"]
        confirmed = browser.post(f"{ROUTES}/confirm", data={**form, "other_company": "yes"})
        now = operator.get(f"{ROUTES}/status").json()["data"]["company"]["name"]

    assert refused.status_code == 409
    assert "Beta Sandbox GmbH" in refused.text
    assert company_name == "ACME Sandbox GmbH"
    assert (confirmed.status_code, now) == (303, "Beta Sandbox GmbH")
    up.synced(3)


def no_secret_lies_about(up: RunningUp) -> None:
    """Keys and sealed tokens, in every file under the home but those made to hold one."""
    keys = {"token-encryption-keys", "operator-key"}
    secrets = [(up.home / name).read_text().strip() for name in keys]
    secrets += [row["sealed"] for row in up.rows(ACCESS_TOKENS)]
    files = [
        path
        for path in up.home.rglob("*")
        if path.is_file() and path.name not in keys and "postgres" not in path.parts
    ]
    leaks = [
        path.name for path in files for secret in secrets if secret in path.read_text("latin-1")
    ]
    assert leaks == []
    command_lines = " ".join(" ".join(process.cmdline()) for process in up.processes())
    assert not any(secret in command_lines for secret in secrets)


def _organizations(up: RunningUp) -> int:
    records = httpx.get(f"{up.urls['sandbox']}/_sandbox/records/organizations").text
    return len([json.loads(line) for line in records.splitlines()])


def _former(up: RunningUp) -> list[dict[str, object]]:
    return up.rows(
        "select former_remote_id::bigint as pipedrive_id, id from crm.customers"
        " where deletion_reason = 'company_changed' and pipedrive_id is null order by 1"
    )
