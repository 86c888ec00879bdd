"""The page's pipeline: what it shows, and a deal that is dragged or moved by keyboard."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox, seeded, serve
from pipedrive_pipeline.sandbox.pipedrive.board import Board, board_of
from pipedrive_pipeline_tests.sandbox.client import SandboxClient
from pipedrive_pipeline_tests.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def board(account: CrmAccount, pipeline_id: int = 1) -> Board:
    """The board of a pipeline that exists."""
    shown = board_of(account, pipeline_id)
    assert shown is not None
    return shown


def test_a_column_has_the_count_and_the_value_per_currency_of_open_deals(
    account: CrmAccount,
) -> None:
    for deal_id in range(1, 63):
        account.edit("deals", deal_id, status="lost")
    for amount, currency in ((100, "EUR"), (50, "EUR"), (7_000, "CHF")):
        account.create("deals", title="x", stage_id=2, value=amount, currency=currency)
    account.create("deals", title="archived", stage_id=2, is_archived=True)

    columns = {column.stage["id"]: column for column in board(account).columns}

    assert list(columns) == [1, 2, 3, 4, 5]
    assert (columns[2].count, columns[2].values) == (3, ("7,000 CHF", "150 EUR"))
    assert columns[1].count == 0


def test_another_pipeline_is_shown_on_request_and_an_unknown_one_is_the_first(
    account: CrmAccount,
) -> None:
    assert board(account, 2).columns[0].stage["pipeline_id"] == 2
    assert board(account, 4_711).pipeline_id == 1
    for pipeline in (1, 2):
        account.delete("pipelines", pipeline)
    assert board_of(account, 1) is None


def test_without_control_the_page_shows_the_pipeline_and_moves_nothing(
    client: SandboxClient,
) -> None:
    text = client.get("/", pipeline=2).text

    assert 'data-name="Termin"' in text
    assert 'draggable="true"' not in text
    assert "Move " not in text


@pytest.fixture
def controlled() -> Iterator[Sandbox]:
    with serve(seeded(60, 150), has_limits=False, has_control=True) as sandbox:
        yield sandbox


def test_every_button_of_a_card_says_what_it_does(controlled: Sandbox) -> None:
    with SandboxClient(controlled) as client:
        text = client.get("/").text

    buttons = re.findall(r'<button class="plain" id="deal-(\d+)-(\w+)"([^>]*)>', text)
    assert len(buttons) > 20
    for _, word, attributes in buttons:
        assert "aria-label=" in attributes
        assert ("data-post" in attributes) != ("disabled" in attributes)
        assert word in {"back", "on", "won", "lost"}


@pytest.fixture
def page() -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A browser of root's has no sandbox of its own; it sees pages of this machine only.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1300, "height": 900})
        browser.close()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; `apt-get install chromium`")
def test_a_deal_is_dragged_moved_by_keyboard_and_won(controlled: Sandbox, page: Page) -> None:
    account = controlled.account
    deal = account.create("deals", title="Kesseltausch", stage_id=1, value=500)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(controlled.url)
    card = page.locator(f'[data-deal="{deal["id"]}"]')

    card.drag_to(page.locator('[data-stage="3"] h3'))
    wait_until(lambda: account.get("deals", deal["id"])["stage_id"] == 3, 10)
    page.locator('[data-stage="3"]').get_by_text("Kesseltausch").wait_for()
    page.get_by_role("button", name="Move Kesseltausch to Verhandlung").focus()
    page.keyboard.press("Enter")
    wait_until(lambda: account.get("deals", deal["id"])["stage_id"] == 4, 10)
    page.get_by_text("Moved to Verhandlung.").wait_for()
    page.locator(f"#deal-{deal['id']}-on:focus").wait_for()  # so that Enter moves it on
    page.get_by_role("button", name="Mark Kesseltausch as won").click()
    wait_until(lambda: account.get("deals", deal["id"])["status"] == "won", 10)
    card.wait_for(state="detached")

    assert complaints == []
    assert account.get("deals", deal["id"])["stage_change_time"] is not None
