"""The first hour of an ordinary user: two terminals of 80 columns, and a browser.

Pictures lie in the folder that `SCREENSHOTS` names, if it is set.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pipedrive_pipeline_tests.cli.newcomer import COLUMNS, Newcomer, Tmux, moved, newcomer
from pipedrive_pipeline_tests.cli.running_up import free_ports
from pipedrive_pipeline_tests.pictures import CHROMIUM, chromium
from pipedrive_pipeline_tests.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

FIRST, SECOND = "first", "second"  # the terminals
UP_SECONDS = 400
END_SECONDS = 60
EDITED = "Edited by clicking GmbH"

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on this machine; `apt-get install chromium`"
    ),
    pytest.mark.skipif(
        shutil.which("tmux") is None, reason="no tmux on this machine; `apt-get install tmux`"
    ),
]


class Walk:
    """The newcomer's terminals and browser, and the pictures of both."""

    def __init__(self, who: Newcomer, terminals: Tmux, page: Page) -> None:
        self.who, self.terminals, self.page = who, terminals, page

    @property
    def home(self) -> Path:
        """Where the clone keeps its servers."""
        return self.who.clone / ".local"

    def urls(self) -> dict[str, Any]:
        """What `up` serves."""
        urls: dict[str, Any] = json.loads((self.home / "up.json").read_text())
        return urls

    def show_page(self, name: str) -> None:
        """Keeps a picture of the browser's page."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"newcomer-{name}.png")

    def show_terminal(self, terminal: str, name: str) -> str:
        """Keeps a picture of a terminal, and returns its text."""
        text = self.terminals.text(terminal)
        if folder := os.environ.get("SCREENSHOTS"):
            style = "background:#111;color:#ddd;font:14px/1.3 monospace;padding:12px"
            self.page.set_content(f'<pre style="{style}">{html.escape(text)}</pre>')
            self.page.screenshot(path=Path(folder) / f"newcomer-{name}.png")
        return text

    def begin(self) -> None:
        """Types `./run up` into the first terminal."""
        self.terminals.type(FIRST, "./run up")
        wait_until((self.home / "up.json").exists, UP_SECONDS, lambda: self.terminals.text(FIRST))


@pytest.fixture
def walk() -> Iterator[Walk]:
    with tempfile.TemporaryDirectory(prefix="pp-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        who = newcomer(Path(folder), free_ports())
        with chromium() as page:
            walk = Walk(who, Tmux(who), page)
            try:
                walk.terminals.open(FIRST)
                walk.terminals.open(SECOND)
                yield walk
                walk.terminals.run(SECOND, "./run down")
            finally:
                walk.terminals.close()


def test_the_first_hour_of_an_ordinary_user(walk: Walk) -> None:
    the_demo_shows_a_pipeline(walk)
    walk.begin()

    a_second_up_says_which_one_runs(walk)
    the_second_terminal_needs_no_setting(walk)
    a_run_of_the_command_line_is_on_its_jobs_page(walk)
    every_check_of_all_tenants_has_a_result(walk)
    the_status_reads_well_at_eighty_columns(walk)
    the_operator_finds_plain_words(walk)
    an_edit_survives_a_restart(walk)
    a_kill_leaves_nothing_behind_and_the_next_start_goes_on(walk)
    a_moved_clone_goes_on(walk)


def the_demo_shows_a_pipeline(walk: Walk) -> None:
    said = walk.terminals.run(SECOND, "./run demo && echo demo: $?")
    walk.show_terminal(SECOND, "demo")

    assert "demo: 0" in said


def a_second_up_says_which_one_runs(walk: Walk) -> None:
    urls = walk.urls()

    said = walk.terminals.run(SECOND, "./run up")
    walk.show_terminal(SECOND, "second-up")

    assert "already running" in said
    assert str(urls["pid"]) in said
    assert urls["connect"] == f"http://127.0.0.1:{walk.who.environment['CONNECT_PORT']}"


def the_second_terminal_needs_no_setting(walk: Walk) -> None:
    doctor = walk.terminals.run(SECOND, "./run doctor --tenant sandbox && echo doctor: $?")
    # The connection has requested the first sync; until it has ended, the tenant is busy.
    line = "until ./run sync --tenant sandbox; do sleep 5; done"
    synced = walk.terminals.run(SECOND, line)
    walk.show_terminal(SECOND, "second-terminal")

    assert "doctor: 0" in doctor
    assert "up to date" in synced
    assert "rows/s" not in synced  # the line of the progress is gone


def a_run_of_the_command_line_is_on_its_jobs_page(walk: Walk) -> None:
    dagster = walk.urls()["dagster"]

    walk.page.goto(f"{dagster}/locations/pipedrive_pipeline/jobs/sync/runs")
    walk.page.get_by_text("pipeline/trigger: manual").or_(
        walk.page.get_by_text("Success", exact=True)
    ).first.wait_for()
    walk.show_page("job")

    assert walk.page.get_by_text(re.compile(r"^[0-9a-f]{8}$")).count() >= 1


def every_check_of_all_tenants_has_a_result(walk: Walk) -> None:
    """Also freshness, which was "Not evaluated" after every run."""
    dagster = walk.urls()["dagster"]
    for asset in ("pipedrive/organization_fields", "crm/contacts"):
        walk.page.goto(f"{dagster}/assets/{asset}?view=checks")
        walk.page.get_by_text("all_tenants").first.wait_for()
        walk.page.get_by_text("Succeeded").first.wait_for()
        walk.show_page(f"checks-{asset.partition('/')[2]}")

        assert walk.page.get_by_text("Not evaluated").count() == 0, asset


def the_status_reads_well_at_eighty_columns(walk: Walk) -> None:
    walk.terminals.run(SECOND, "./run status")
    text = walk.show_terminal(SECOND, "status")

    assert re.search(r"^tenant +sandbox \(make-believe\)", text, re.MULTILINE)
    assert re.search(r"^state +connected", text, re.MULTILINE)
    assert all(len(line) <= COLUMNS for line in text.splitlines())


def the_operator_finds_plain_words(walk: Walk) -> None:
    walk.terminals.run(SECOND, "./run tenants add acme")
    connect, page = walk.urls()["connect"], walk.page
    page.goto(f"{connect}/login")
    page.get_by_label("Your key").fill((walk.home / "operator-key").read_text().strip())
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Never connected").first.wait_for()
    walk.show_page("tenants")

    page.goto(f"{connect}/integrations/pipedrive?tenant=acme")
    page.get_by_role("link", name="Connect Pipedrive").wait_for()
    walk.show_page("not-connected")
    page.goto(f"{connect}/integrations/pipedrive/history?tenant=sandbox")
    for head in ("Started", "Kind", "Result", "Took"):
        page.get_by_role("columnheader", name=head).first.wait_for()
    walk.show_page("history")
    walk.terminals.run(SECOND, "./run tenants remove acme")


def an_edit_survives_a_restart(walk: Walk) -> None:
    walk.page.goto(f"{walk.urls()['sandbox']}/?entity=organizations")
    field = walk.page.get_by_label(re.compile(r"^Name of \d+$")).first
    field.fill(EDITED)
    with walk.page.expect_response(re.compile("/_sandbox/edit")):
        field.press("Enter")
    walk.show_page("edited")

    walk.terminals.run(SECOND, "./run down")
    wait_until(lambda: not (walk.home / "up.json").exists(), 60)
    walk.begin()
    walk.page.goto(f"{walk.urls()['sandbox']}/?entity=organizations")
    walk.page.locator(f'input[value="{EDITED}"]').wait_for()
    walk.show_page("after-restart")


def a_kill_leaves_nothing_behind_and_the_next_start_goes_on(walk: Walk) -> None:
    """Children end with their parent however it ends; the next `up` finds what is left."""
    killed = psutil.Process(walk.urls()["pid"])
    children = killed.children(recursive=True)
    assert children

    killed.kill()

    assert psutil.wait_procs(children, timeout=END_SECONDS)[1] == []
    walk.terminals.type(FIRST, "clear")
    walk.terminals.type(FIRST, "./run up")
    wait_until(
        lambda: (walk.home / "up.json").exists() and walk.urls()["pid"] != killed.pid,
        UP_SECONDS,
        lambda: walk.terminals.text(FIRST),
    )
    said = walk.terminals.run(SECOND, "./run doctor --tenant sandbox && echo doctor: $?")
    walk.show_terminal(SECOND, "after-kill")
    assert "doctor: 0" in said


def a_moved_clone_goes_on(walk: Walk) -> None:
    """Its environment names its first folder, which is there no more; `./run` makes it anew."""
    walk.terminals.run(SECOND, "./run down")
    walk.terminals.close()
    walk.who = moved(walk.who)
    walk.terminals = Tmux(walk.who)
    walk.terminals.open(SECOND)

    said = walk.terminals.run(SECOND, "./run status && echo status: $?")
    walk.show_terminal(SECOND, "moved")

    assert "status: 0" in said
    assert re.search(r"^state +connected", said, re.MULTILINE)
