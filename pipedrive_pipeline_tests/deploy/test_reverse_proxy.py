"""The shipped reverse proxy before the Connect app: TLS, limits, and whose address counts."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from socket import create_connection

import httpx
import pytest

from pipedrive_pipeline.connect.pages import rendering
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.sync.webhooks.lifecycle import USER
from pipedrive_pipeline_tests.connect.browser import ConnectSite, served
from pipedrive_pipeline_tests.connect.hooks import hook_of
from pipedrive_pipeline_tests.vault import world
from pipedrive_pipeline_tests.vault.oauth_server import OAuthCompany
from pipedrive_pipeline_tests.waiting import free_port, wait_until

CADDY = shutil.which("caddy")
PROXY = PROJECT_ROOT / "deploy" / "proxy"
CADDYFILE = PROXY / "Caddyfile"

pytestmark = pytest.mark.skipif(
    CADDY is None, reason="caddy is not installed (Debian: apt-get install caddy)"
)


@contextmanager
def proxied(app_port: str, folder: Path, port: int) -> Iterator[httpx.Client]:
    """A client of the app on a port through Caddy, which makes a certificate for localhost."""
    environment = {
        **os.environ,
        "CONNECT_SITE": f"https://localhost:{port}",
        "CONNECT_PORT": app_port,
        "CONNECT_PROXY_FOLDER": str(PROXY),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "HOME": str(folder),
    }
    command = [str(CADDY), "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
    authority = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: authority.exists() and _answers(port, authority), seconds=60)
        trusted = ssl.create_default_context(cafile=authority)
        with httpx.Client(
            base_url=f"https://localhost:{port}", verify=trusted, timeout=30
        ) as client:
            yield client
    finally:
        process.terminate()
        process.wait()


def _answers(port: int, authority: Path) -> bool:
    """True once the port has a certificate: it is open a moment before."""
    trusted = ssl.create_default_context(cafile=authority)
    try:
        with create_connection(("localhost", port), 1) as plain:
            trusted.wrap_socket(plain, server_hostname="localhost").close()
    except OSError:  # refused, or no certificate yet
        return False
    return True


@pytest.fixture(scope="module")
def behind_proxy(
    database_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, ConnectSite]]:
    port, folder = free_port(), tmp_path_factory.mktemp("caddy")
    with (
        world.running(database_template) as environment,
        served(
            environment,
            app_url=f"https://localhost:{port}",
            trusted_proxies="127.0.0.1",
        ) as site,
        proxied(site.url.rpartition(":")[2], folder, port) as through_proxy,
    ):
        yield through_proxy, site


@pytest.fixture
def client(behind_proxy: tuple[httpx.Client, ConnectSite]) -> httpx.Client:
    return behind_proxy[0]


@pytest.mark.slow
def test_events_of_a_webhook_pass_with_their_password(
    behind_proxy: tuple[httpx.Client, ConnectSite],
) -> None:
    client, site = behind_proxy
    site.forget()
    hook = replace(hook_of(site, world.ACME, OAuthCompany()), client=client)

    stored, refused = hook.send(), hook.send(auth=(USER, "wrong"))

    assert (stored.status_code, stored.json()["data"]) == (200, {"stored": 1})
    assert refused.status_code == 404


@pytest.mark.slow
def test_pages_come_over_tls_with_strict_headers(client: httpx.Client) -> None:
    page = client.get("/login")

    assert page.status_code == 200
    assert page.headers["strict-transport-security"].startswith("max-age=31536000")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_large_bodies_and_heads_end_at_the_proxy_or_the_app(client: httpx.Client) -> None:
    body = client.post("/login", content=b"x" * 300_000)
    head = client.get("/login", headers={"x-large": "y" * 40_000})

    assert body.status_code == 413
    assert head.status_code == 431


@pytest.mark.slow
def test_a_forged_address_does_not_escape_the_limit_of_wrong_keys(client: httpx.Client) -> None:
    """The proxy replaces what a client claims, and the app believes the proxy alone."""
    statuses = [
        client.get(
            "/api/integrations",
            headers={"x-api-key": f"wrong-{number}", "x-forwarded-for": f"203.0.113.{number}"},
        ).status_code
        for number in range(30)
    ]

    assert statuses[0] == 401
    assert statuses[-1] == 429


def test_while_the_app_is_down_people_see_a_page_and_scripts_an_error(tmp_path: Path) -> None:
    """A restart takes seconds; an empty page would look like the end of the service."""
    with proxied(str(free_port()), tmp_path, free_port()) as client:
        page = client.get("/integrations/pipedrive")
        sent = client.post("/integrations/pipedrive/settings", data={"a": "b"})
        script = client.get("/api/integrations")

    assert [answer.status_code for answer in (page, sent, script)] == [502, 502, 502]
    assert "The server is starting" in page.text
    assert "Der Server startet" in page.text
    assert page.headers["content-type"].startswith("text/html")
    assert (page.headers["refresh"], page.headers["retry-after"]) == ("5", "5")
    assert "refresh" not in sent.headers  # what was sent is not sent again unasked
    assert script.json()["error"]["code"] == "unavailable"
    assert script.json()["meta"]["request_id"] not in {"", "{http.request.uuid}"}


def test_the_page_of_the_proxy_has_the_apps_look_and_an_allowed_style() -> None:
    """It must load no other file, since nobody is there to serve one."""
    page = (PROXY / "unavailable.html").read_text(encoding="utf-8")
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    app_style = (rendering.STATIC / "connect.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    values = re.findall(r"(--[\w-]+: [^;]+);", style)
    assert values
    assert [value for value in values if value not in app_style] == []
    assert f"'sha256-{digest}'" in CADDYFILE.read_text(encoding="utf-8")
    assert re.findall(r"(?:src|href)=\"[^\"]+\"", page) == []
