"""A signed-in browser without a screen: it fills in the forms of a page and sends them."""

from __future__ import annotations

import re
from html import unescape

import httpx

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.vault.world import ACME, OPERATOR_KEY


def signed_in(site: ConnectSite, role: Role, name: str = "a person") -> httpx.Client:
    """A browser in English, signed in with a new key of acme with this role."""
    with site.world.vault.warehouse.as_app(ACME) as connection:
        key = keys.add(connection, ACME, role, name, who="a test")
    browser = site.client({"accept": "text/html", "accept-language": "en", "origin": site.url})
    browser.post("/login", data={"key": key.text})
    return browser


def operator_of(site: ConnectSite) -> httpx.Client:
    """A browser in English, signed in with the operator's key."""
    browser = site.client({"accept": "text/html", "accept-language": "en", "origin": site.url})
    browser.post("/login", data={"key": OPERATOR_KEY})
    return browser


def fields_of(text: str, action: str) -> dict[str, str]:
    """What a browser would send of the form with this address, without a button."""
    start = text.index(f'action="{action}"')
    form = text[start : text.index("</form>", start)]
    fields: dict[str, str] = {}
    for tag in re.findall(r"<input [^>]*>", form):
        facts = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if facts.get("type") not in {"checkbox", "radio"} or " checked" in tag:
            fields[unescape(facts["name"])] = unescape(facts.get("value", ""))
    for tag, options in re.findall(r"<select ([^>]*)>(.*?)</select>", form, re.DOTALL):
        name = re.search(r'name="([^"]*)"', tag)
        chosen = re.search(r'value="([^"]*)" selected', options)
        first = re.search(r'value="([^"]*)"', options)
        if name:
            found = chosen or first
            fields[unescape(name.group(1))] = unescape(found.group(1)) if found else ""
    for tag, value in re.findall(r"<textarea ([^>]*)>(.*?)</textarea>", form, re.DOTALL):
        name = re.search(r'name="([^"]*)"', tag)
        if name:
            fields[name.group(1)] = unescape(value)
    return fields
