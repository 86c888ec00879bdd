"""Chromium in front of the Connect app: signs in, walks the gallery, asks axe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.pages.gallery import STAGES, Scene

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text("utf-8")
RUN_AXE = """
async () => (await axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
})).violations.map(found => ({
    id: found.id, impact: found.impact, help: found.help,
    nodes: found.nodes.slice(0, 3).map(node => node.html.slice(0, 200)),
}))
"""
SERIOUS = frozenset({"serious", "critical"})


def sign_in(page: Page, site: ConnectSite, key: str) -> None:
    """Begins a session with this key, by the form."""
    page.goto(f"{site.url}/login")
    page.locator("#key").fill(key)
    page.locator("main button").click()
    page.locator("header form.me").wait_for()


def show(page: Page, site: ConnectSite, scene: Scene, ids: Mapping[str, str]) -> int:
    """Opens one scene, and returns the status of its page."""
    with scene.during(site) if scene.during else nullcontext():
        answer = page.goto(site.url + scene.path.format_map(ids))
        if scene.act:
            with page.expect_navigation() as navigation:
                scene.act(page)
            answer = navigation.value
    assert answer is not None, scene.name
    return answer.status


def scenes(page: Page, site: ConnectSite, named: str = "") -> Iterator[tuple[Scene, int]]:
    """Each scene of the gallery, or those with this in their name, open, with its status.

    Every second one is in German, whose words are longer.
    """
    for stage in STAGES:
        wanted = [scene for scene in stage.scenes if named in scene.name]
        if not wanted:
            continue
        site.forget()
        keys, who = stage.fill(site), None
        for number, scene in enumerate(wanted):
            if scene.who != who:
                page.context.clear_cookies(name="login")
                if scene.who:
                    sign_in(page, site, keys[scene.who])
                who = scene.who
            speak(page, site, ("en", "de")[number % 2])
            yield scene, show(page, site, scene, keys)


def speak(page: Page, site: ConnectSite, language: str) -> None:
    """Chooses the language of the pages, as the links of their footer do."""
    page.context.add_cookies([{"name": "language", "value": language, "url": site.url}])


def findings(page: Page) -> list[str]:
    """What axe finds serious or critical, with all details open."""
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    page.evaluate(AXE)
    found: list[dict[str, Any]] = page.evaluate(RUN_AXE)
    return [json.dumps(rule) for rule in found if rule["impact"] in SERIOUS]
