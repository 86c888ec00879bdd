"""Chromium in front of the Connect app: signs in, walks the gallery, asks axe."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
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
# The words of a page, without names from outside, identifiers, and what says that it is English.
WORDS = """
() => {
    const copy = document.body.cloneNode(true);
    const known = "bdi, code, kbd, script, datalist, [lang=en], [translate=no]";
    copy.querySelectorAll(known).forEach(e => e.remove());
    const spoken = [...copy.querySelectorAll("[aria-label], [title], [placeholder]")].flatMap(
        e => ["aria-label", "title", "placeholder"].map(name => e.getAttribute(name) || ""));
    return [copy.textContent, ...spoken].join(" ");
}
"""
# Frequent in English, and no words of German.
ENGLISH = frozenset(
    {
        *(
            "the",
            "of",
            "is",
            "are",
            "not",
            "and",
            "this",
            "that",
            "with",
            "no",
            "by",
            "has",
            "have",
        ),
        *("been", "cannot", "from", "your", "to", "it", "be", "for", "or", "at", "on", "only"),
        *("must", "than", "which", "when", "who"),
    }
)
# A name that became markup.
HARM = """
() => [...document.querySelectorAll("*")].filter(
    element => [...element.attributes].some(a => a.name.startsWith("on"))
).map(element => element.outerHTML.slice(0, 100))
"""


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
        if scene.until:
            page.locator(scene.until).first.wait_for(state="attached")
    assert answer is not None, scene.name
    return answer.status


def scenes(
    page: Page, site: ConnectSite, named: str = "", languages: Sequence[str] = ("en", "de")
) -> Iterator[tuple[Scene, int]]:
    """Each scene of the gallery, or those with this in their name, open, with its status.

    The languages take turns.
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
            speak(page, site, languages[number % len(languages)])
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


def english_words(page: Page) -> frozenset[str]:
    """The English words on a German page."""
    text: str = page.evaluate(WORDS)
    return ENGLISH.intersection(re.findall(r"[^\W\d_]+", text.lower()))


def harm(page: Page) -> list[str]:
    """Elements with a handler of their own: pages have none, so that a name brought it."""
    elements: list[str] = page.evaluate(HARM)
    return elements
