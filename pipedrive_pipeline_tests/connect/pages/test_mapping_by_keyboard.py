"""The mapping editor in a browser, by keys alone; names from outside that must stay text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.marts import mapping as mappings
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.pages.mapped import HOSTILE, KEYS, MAPPING, SCOPE, load
from pipedrive_pipeline_tests.pictures import CHROMIUM
from pipedrive_pipeline_tests.vault.world import ACME

if TYPE_CHECKING:
    from playwright.sync_api import Dialog, Page

FIELDS = 40
STOPS_OF_FIELD = 2  # column, and the box of a proposal
WIDTHS = (320, 390, 1024, 1280)
FOCUSED = "document.activeElement.name || document.activeElement.tagName"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture
def browser_page(site: ConnectSite) -> Iterator[Page]:
    """A manager's browser at the mapping of more than forty fields."""
    from playwright.sync_api import sync_playwright

    load(site)
    with site.world.vault.warehouse.as_app(ACME) as connection:
        key = keys.add(connection, ACME, Role.MANAGER, "editor", who="a test")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(locale="en")
        page.set_default_timeout(60_000)
        page.goto(f"{site.url}/login")
        page.locator("#key").fill(key.text)
        with page.expect_navigation():
            page.keyboard.press("Enter")
        page.goto(f"{site.url}{MAPPING}?mart=customers")
        yield page
        browser.close()


def focused(page: Page) -> str:
    """The name of the control that has the focus, else its tag."""
    name: str = page.evaluate(FOCUSED)
    return name


def tab_to(page: Page, pattern: str) -> int:
    """Presses Tab until a control of this name has the focus; how often that was."""
    for count in range(1, 40):
        page.keyboard.press("Tab")
        if re.fullmatch(pattern, focused(page)):
            return count
    raise AssertionError(f"no {pattern} within 40 tabs, but {focused(page)}")


@pytest.mark.slow
def test_forty_fields_are_mapped_previewed_and_saved_by_keys_alone(
    site: ConnectSite, browser_page: Page
) -> None:
    """Tab goes field by field, Space accepts a proposal, Enter previews, and only Save saves."""
    page, done = browser_page, 0
    tab_to(page, "to:.*")
    while done < FIELDS:
        source = focused(page).removeprefix("to:")
        page.keyboard.press("Tab")
        if focused(page) == f"accept:{source}":
            page.keyboard.press("Space")
        else:
            page.keyboard.press("Shift+Tab")
            page.keyboard.insert_text(f"attributes.field_{done}")
        done += 1
        if done < FIELDS:
            assert tab_to(page, "to:.*") <= STOPS_OF_FIELD
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    previewed = page.locator(".save [role=status]").inner_text()
    with site.world.vault.warehouse.as_app(ACME) as connection:
        before = mappings.active(connection, SCOPE).number
    stops = tab_to(page, "act")  # from the preview's heading on
    tab_to(page, "act")
    with page.expect_navigation():
        page.keyboard.press("Enter")

    with site.world.vault.warehouse.as_app(ACME) as connection:
        saved = mappings.active(connection, SCOPE)
    assert previewed == f"{FIELDS} changes, not saved"
    assert (before, saved.number) == (0, 1)
    assert len(saved.mapping.entries) == FIELDS
    assert stops <= 5
    assert page.get_by_text("Version 1 is saved").is_visible()


@pytest.mark.slow
def test_names_that_try_to_do_harm_run_nothing_and_break_no_layout(browser_page: Page) -> None:
    """In labels, values, columns that somebody typed, and messages about them."""
    page = browser_page
    dialogs: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    for name, text in HOSTILE.items():
        page.locator(f'[name="to:{KEYS[name]}"]').fill(text[:80])
    with page.expect_navigation():
        page.locator("button.main").click()

    assert page.get_by_text("Not saved: 4 fields need a correction.").is_visible()
    shown = page.locator(f'[name="to:{KEYS["markup"]}"]').input_value()
    assert shown == HOSTILE["markup"]
    assert page.locator("main svg[onload]").count() == 0
    assert page.get_by_text("{{7*7}}", exact=True).first.is_visible()
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
    assert dialogs == []
