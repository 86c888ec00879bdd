"""Takes the README's pictures: `up` with the sandbox, seen in the machine's Chromium.

    uv run --frozen --group dev python -m pipedrive_pipeline_tests.pictures

writes `docs/pictures/dagster.png` and `docs/pictures/connect.png`. Needs a Chromium on the machine.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline_tests.cli.running_up import RunningUp, running_up

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PICTURES = PROJECT_ROOT / "docs/pictures"
PATIENCE_MILLISECONDS = 120_000
SYNC_SECONDS = 400  # on a machine that has other work
WIDTH, HEIGHT = 1280, 800
ENDED = "select from dagster.runs where status = 'SUCCESS'"


@contextmanager
def chromium() -> Iterator[Page]:
    """A page of a browser that waits patiently."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A browser of root's has no sandbox of its own; it sees pages of this machine only.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        yield page
        browser.close()


def picture_of_dagster(page: Page, up: RunningUp, path: Path) -> None:
    """The checks of the asset `crm/contacts`."""
    page.goto(f"{up.urls['dagster']}/assets/crm/contacts?view=checks")
    page.get_by_text("all_tenants").first.wait_for()
    page.get_by_text("Succeeded").first.wait_for()
    page.wait_for_load_state("networkidle")  # icons come last
    page.screenshot(path=path)


def sign_in(page: Page, up: RunningUp) -> None:
    """Signs in to the Connect app with the operator's key."""
    page.goto(f"{up.urls['connect']}/login")
    page.get_by_label(re.compile("key", re.IGNORECASE)).first.fill(
        (up.home / "operator-key").read_text().strip()
    )
    page.get_by_role("button", name=re.compile("sign in|log in", re.IGNORECASE)).first.click()
    page.wait_for_load_state()


def picture_of_connect(page: Page, up: RunningUp, path: Path) -> None:
    """The page of the sandbox's connection."""
    page.goto(f"{up.urls['connect']}/integrations/pipedrive?tenant=sandbox")
    page.wait_for_load_state()
    page.screenshot(path=path)


def main() -> None:
    """Takes both pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pp-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # root's server runs as an account that must reach it
        with running_up(Path(folder), None, "--sandbox") as up, chromium() as page:
            up.wait(ENDED, SYNC_SECONDS)
            picture_of_dagster(page, up, PICTURES / "dagster.png")
            sign_in(page, up)
            picture_of_connect(page, up, PICTURES / "connect.png")


if __name__ == "__main__":
    main()
