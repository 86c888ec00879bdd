"""The Connect app on a loopback port, with clients for it: a browser with cookies, an operator."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from socket import socket
from urllib.parse import parse_qs, urlsplit

import httpx
import uvicorn
from fastapi import FastAPI

from pipedrive_pipeline.connect import serving
from pipedrive_pipeline.connect.app import create_app
from pipedrive_pipeline.connect.auth.rate_limits import (
    CRM_REQUESTS_IN_TEN_MINUTES,
    REQUESTS_A_MINUTE,
)
from pipedrive_pipeline.connect.http_protocol import LimitedHttp
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.vault.vault import Vault
from pipedrive_pipeline_tests.trust import TLS
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany
from pipedrive_pipeline_tests.vault.world import OPERATOR_KEY, PIPEDRIVE, VaultSetup

ROUTES = "/api/integrations/pipedrive"
CONFIRM_PAGE = "/integrations/pipedrive/confirm"
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


@dataclass
class ConnectSite:
    """The running Connect app, with its vault, database and OAuth server."""

    url: str
    world: VaultSetup
    app: FastAPI
    opened: list[httpx.Client] = field(default_factory=list)

    def forget(self) -> None:
        """As new, also for the callers that failed before."""
        self.store_refusals()
        self.world.forget()
        self.forgive()
        self.world.session.execute("delete from integration.browser_sessions")
        self.limit_requests(REQUESTS_A_MINUTE, CRM_REQUESTS_IN_TEN_MINUTES)

    def forgive(self) -> None:
        """Deletes the failed attempts of every address and account."""
        self.world.session.execute("delete from integration.failed_attempts")

    def store_refusals(self) -> None:
        """Stores the counts of refused requests now, which the app does every few seconds."""
        vault = self.world.vault
        self.app.state.services.refusals.store(vault.warehouse, vault.settings)

    def limit_requests(self, a_minute: int, of_crm: int | None = None) -> None:
        """Sets the requests a minute of each caller, and those in ten minutes to the CRM API."""
        self.app.state.services = replace(
            self.app.state.services,
            requests_a_minute=a_minute,
            crm_requests=a_minute if of_crm is None else of_crm,
        )

    def close(self) -> None:
        """Every browser is closed."""
        while self.opened:
            self.opened.pop().close()

    def browser(self) -> httpx.Client:
        """A browser without cookies; it follows no redirect by itself."""
        return self.client({"accept": "text/html,*/*"})

    def operator(self, tenant: str = "acme") -> httpx.Client:
        """A script with the operator's key."""
        return self.client({"authorization": f"Bearer {OPERATOR_KEY}", "x-tenant": tenant})

    def client(self, headers: dict[str, str] | None = None) -> httpx.Client:
        """A client with these headers; without any, an anonymous one."""
        client = httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=TLS)
        self.opened.append(client)
        return client

    def link(self) -> str:
        """A one-time link for acme."""
        answer = self.operator().post(f"{ROUTES}/connect-link")
        url: str = answer.json()["data"]["url"]
        return url

    def sent_off(self, browser: httpx.Client) -> str:
        """The state that this browser carries to the source."""
        return self.state_of(browser.get(self.link()))

    @staticmethod
    def state_of(redirect: httpx.Response) -> str:
        """The state in a redirect to the source."""
        return parse_qs(urlsplit(redirect.headers["location"]).query)["state"][0]

    def consented(
        self, browser: httpx.Client, company: OAuthCompany | None = None
    ) -> httpx.Response:
        """What the callback answers to an honest consent."""
        params = {"state": self.sent_off(browser), "code": self.world.oauth.consent(company)}
        return browser.get(f"{ROUTES}/callback", params=params)

    def form(self, browser: httpx.Client) -> dict[str, str]:
        """The confirmation's hidden fields, as the page shows them."""
        return dict(HIDDEN.findall(browser.get(CONFIRM_PAGE).text))


@contextmanager
def running_app(
    vault: Vault, *, http: type[LimitedHttp] = LimitedHttp, **more: object
) -> Iterator[tuple[str, FastAPI]]:
    """The app on a free port, until the end of the block: its address and itself."""
    listener = socket()
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = Settings.model_validate(
        {**vault.settings.model_dump(), "app_url": url, **more}
    ).with_system(PIPEDRIVE, **vault.settings.system(PIPEDRIVE).model_dump())
    app = create_app(settings, Vault(vault.warehouse, settings))
    server = uvicorn.Server(serving.config(app, settings, http=http))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield url, app
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def served(
    world: VaultSetup, *, http: type[LimitedHttp] = LimitedHttp, **more: object
) -> Iterator[ConnectSite]:
    """The app on a free port with clients for it, until the end of the block."""
    with running_app(world.vault, http=http, **more) as (url, app):
        settings = app.state.services.vault.settings
        vault = Vault(world.vault.warehouse, settings)
        site = ConnectSite(url, replace(world, vault=vault), app)
        try:
            yield site
        finally:
            site.close()
