"""From `./run up` to the first customer in a table, by the pages alone, as a person clicks.

At most twelve clicks; the sandbox that `up` starts agrees to the consent by itself.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipedrive_pipeline.sandbox import Options
from pipedrive_pipeline_tests.cli.running_up import RunningUp, free_ports, running_up
from pipedrive_pipeline_tests.pictures import CHROMIUM, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

CLICKS_MAX = 12
SYNC_MILLISECONDS = 400_000
COMPANY = "Müller & Söhne GmbH"
WORDS = {
    "en": {
        "sign_in": "Sign in",
        "add": "Add tenant",
        "connect": "Connect Pipedrive",
        "go": "Continue to Pipedrive",
        "confirm": "Connect ",
        "start": "Start first read",
        "mapping": "Mapping",
        "complete": "Complete",
    },
    "de": {
        "sign_in": "Anmelden",
        "add": "Mandant anlegen",
        "connect": "Pipedrive verbinden",
        "go": "Weiter zu Pipedrive",
        "confirm": "verbinden",
        "start": "Erstes Lesen starten",
        "mapping": "Zuordnung",
        "complete": "Vollständig",
    },
}

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; `apt-get install chromium`"),
]


@dataclass
class Person:
    """Somebody in front of a browser, whose clicks are counted."""

    page: Page
    words: dict[str, str]
    began_at: float = field(default_factory=time.monotonic)
    clicks: int = 0

    def button(self, name: str) -> None:
        """Presses a button by a part of its words."""
        self._click("button", name)

    def link(self, name: str) -> None:
        """Follows a link by a part of its words."""
        self._click("link", name)

    def show(self, name: str) -> None:
        """Keeps a picture, if `SCREENSHOTS` names a folder."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"story-{name}.png", full_page=True)

    def _click(self, role: str, name: str) -> None:
        text = self.words.get(name, name)
        self.page.get_by_role(role, name=text).first.click()  # type: ignore[arg-type]
        self.clicks += 1
        self.page.wait_for_load_state()


@contextmanager
def walk(language: str) -> Iterator[tuple[RunningUp, Person]]:
    """A fresh installation with the sandbox, and a person in front of it."""
    with tempfile.TemporaryDirectory(prefix="pp-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # root's server runs as an account that must reach it
        ports = free_ports()
        app_of_sandbox = {
            "PIPEDRIVE_CLIENT_ID": Options.client_id,
            "PIPEDRIVE_CLIENT_SECRET": Options.client_secret,
            "PIPEDRIVE_OAUTH_URL": f"http://127.0.0.1:{ports['SANDBOX_PORT']}",
            "PIPEDRIVE_ALLOWED_HOSTS": "127.0.0.1",
        }
        with (
            running_up(Path(folder), ports, "--sandbox", **app_of_sandbox) as up,
            chromium() as page,
        ):
            page.set_extra_http_headers({"accept-language": language})
            yield up, Person(page, WORDS[language])


@pytest.mark.slow
def test_a_customer_is_connected_and_read_by_pages_alone() -> None:
    with walk("en") as (up, person):
        the_first_customer_is_read(up, person)
        seconds = time.monotonic() - person.began_at
        rows = up.rows("select name from crm.customers where tenant_id = 'mueller_soehne_gmbh'")

    assert rows
    assert person.clicks <= CLICKS_MAX
    print(f"the walk took {seconds:.0f} s and {person.clicks} clicks")  # noqa: T201 - a figure


@pytest.mark.long
def test_the_same_in_german() -> None:
    with walk("de") as (up, person):
        the_first_customer_is_read(up, person)

    assert person.clicks <= CLICKS_MAX


def the_first_customer_is_read(up: RunningUp, person: Person) -> None:
    """Sign in, add a tenant, connect, choose, wait for the first read, look at the mapping."""
    page = person.page
    page.set_default_timeout(60_000)
    page.goto(f"{up.urls['connect']}/login")
    page.locator("#key").fill((up.home / "operator-key").read_text().strip())
    person.button("sign_in")
    person.show("tenants")
    person.link("add")
    page.locator("#name").fill(COMPANY)
    person.button("add")
    person.show("tenant")
    person.link("connect")
    person.show("before-consent")
    person.link("go")
    person.show("confirm")  # the sandbox of `up` agrees by itself
    person.button("confirm")
    person.show("choose")
    person.button("start")
    person.show("first-read")
    state = page.locator("h1 + *, .head").get_by_text(person.words["complete"]).first
    state.or_(page.locator("tbody").get_by_text(person.words["complete"]).first).first.wait_for(
        timeout=SYNC_MILLISECONDS
    )
    person.show("read")
    person.link("mapping")
    page.locator("main table").first.wait_for()
    person.show("mapping")
