"""A browser that is signed in, without scripts: requests and the forms of answers."""

from __future__ import annotations

import re

import httpx

from pipedrive_pipeline_tests.connect.browser import HIDDEN, ConnectSite

WORDS = re.compile(r"<(?:style|script)[^>]*>.*?</(?:style|script)>|<[^>]*>", re.DOTALL)


def signed_in(site: ConnectSite, key: str, language: str = "en") -> httpx.Client:
    """A browser with an open session of this key."""
    browser = site.client({"accept": "text/html", "accept-language": language})
    answer = browser.post("/login", data={"key": key}, headers={"origin": site.url})
    assert answer.status_code == 303, answer.text
    return browser


def submit(
    browser: httpx.Client, page: httpx.Response, action: str, **fields: str
) -> httpx.Response:
    """What a form of this page answers, with its hidden fields."""
    hidden = dict(HIDDEN.findall(page.text))
    origin = f"{page.url.scheme}://{page.url.netloc.decode()}"
    return browser.post(action, data={**hidden, **fields}, headers={"origin": origin})


def words(page: httpx.Response) -> str:
    """The text of a page, with single spaces."""
    return " ".join(WORDS.sub(" ", page.text).split())
