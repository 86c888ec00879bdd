"""Every page and state in Chromium: for everybody, light, and no wider than the window."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import pytest
from fastapi.routing import APIRoute

from pipedrive_pipeline.connect.pages.routes import ROUTERS
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.pages.driving import english_words, findings, harm, scenes
from pipedrive_pipeline_tests.connect.pages.gallery import STAGES
from pipedrive_pipeline_tests.pictures import CHROMIUM, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

WANTED = os.environ.get("SCENES", "")  # a part of the names of scenes; all of them without it
WEIGHT_MAX_BYTES = 100_000
WEIGHT = """
["navigation", "resource"]
    .flatMap(kind => performance.getEntriesByType(kind))
    .reduce((sum, entry) => sum + entry.encodedBodySize, 0)
"""
WIDTHS = (390, 1_280)
PICTURE_WIDTHS = (390, 1_280, 1_600)
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
# Parts of a page, files, and redirects; other tests ask for them.
WITHOUT_SCENE = frozenset(
    {
        "/integrations/{system}/choose/sum",
        "/integrations/{system}/consent",
        "/integrations/{system}/progress",
        "/integrations/{system}/rejected-values.csv",
    }
)
EXAMPLES = {
    "{system}": "pipedrive",
    "{secret}": "{link}",
    "{number}": "1",
    "{entity}": "persons",
    "{sink}": "customers",
    "{webhook_id}": "{works}",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; `apt-get install chromium`"),
]


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as page:
        yield page


def test_every_page_and_state_is_usable_by_everybody(site: ConnectSite, page: Page) -> None:
    """By keyboard and screen reader, on a phone, without a script's error, and quickly.

    All in German: its words are longest, and an English one among them is a text that the catalogue
    lacks. Names from outside stay text.
    """
    errors: list[str] = []
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    found: dict[str, object] = {}

    for scene, status in scenes(page, site, WANTED, languages=["de"]):
        problems: list[object] = [] if status == scene.status else [f"status {status}"]
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                problems.append(f"{wide} pixels at {width}")
        if (weight := page.evaluate(WEIGHT)) > WEIGHT_MAX_BYTES:
            problems.append(f"{weight} bytes")
        problems += findings(page)
        problems += sorted(english_words(page))
        problems += harm(page)
        if status == 200 and errors:
            problems += errors
        errors.clear()
        if problems:
            found[scene.name] = problems

    assert found == {}


@pytest.mark.long
def test_pictures_of_every_page_are_taken(site: ConnectSite, page: Page, tmp_path: Path) -> None:
    """`SCREENSHOTS=folder [SCENES=problems]` says where, and which; a person looks at them."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)

    names = []
    for scene, _ in scenes(page, site, WANTED):
        for width, scheme in product(PICTURE_WIDTHS, SCHEMES):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            names.append(f"{scene.name}-{width}-{scheme}.png")
            page.screenshot(path=folder / names[-1], full_page=True)

    assert names
    assert [name for name in names if (folder / name).stat().st_size < 1_000] == []


def test_every_page_has_a_scene() -> None:
    """A page that nobody looks at is one that nobody mends."""
    paths = {scene.path.partition("?")[0] for stage in STAGES for scene in stage.scenes}
    pages = {
        route.path
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    }

    missing = {path for path in pages - WITHOUT_SCENE if _example(path) not in paths}

    assert missing == set()


def _example(path: str) -> str:
    """The address of a route in the gallery."""
    for placeholder, value in EXAMPLES.items():
        path = path.replace(placeholder, value)
    return path
