"""The examples of `docs/api.md`, typed as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import httpx
import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.tenants import FilledTenant, filled_tenant

PAGE = (PROJECT_ROOT / "docs/api.md").read_text()
NODE = shutil.which("node")


def example(language: str) -> str:
    """The one example in this language."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(block)


@pytest.fixture
def tenant(site: ConnectSite) -> FilledTenant:
    return filled_tenant(site, "acme", 1)


def run(site: ConnectSite, tenant: FilledTenant, command: list[str], text: str) -> str:
    environment = {
        **os.environ,
        "APP_URL": site.url,
        "KEY": tenant.keys[Role.MANAGER],
        "LOOKS": "1",
    }
    done = subprocess.run(
        command,
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_curl_example_shows_the_request(site: ConnectSite, tenant: FilledTenant) -> None:
    output = run(site, tenant, ["bash", "-eu"], example("bash"))

    assert json.loads(output)["data"]["state"] == "queued"


@pytest.mark.slow
def test_the_python_example_follows_the_request(site: ConnectSite, tenant: FilledTenant) -> None:
    output = run(site, tenant, [sys.executable, "-"], example("python"))

    assert output == "queued\n"


@pytest.mark.slow
@pytest.mark.skipif(NODE is None, reason="needs Node 18 or later on PATH")
def test_the_javascript_example_walks_the_history(site: ConnectSite, tenant: FilledTenant) -> None:
    site.world.execute(
        "insert into integration.runs (tenant_id, system, sync_type, trigger)"
        " select 'acme', 'pipedrive', 'full', 'schedule' from generate_series(1, 5)"
    )

    output = run(site, tenant, [NODE or "", "--input-type=module", "-"], example("javascript"))

    assert output == "7 runs\n"


def test_the_n8n_node_asks_for_a_sync(site: ConnectSite, tenant: FilledTenant) -> None:
    """What its parameters say is sent, as n8n's HTTP Request node reads them."""
    (node,) = json.loads(example("json"))["nodes"]
    given: dict[str, Any] = node["parameters"]
    values = {"$env.APP_URL": site.url, "$execution.id": "17"}

    def read(text: str) -> str:
        if not text.startswith("="):
            return text
        return re.sub(r"{{ (.*?) }}", lambda match: values[match[1]], text[1:])

    sent = {row["name"]: read(row["value"]) for row in given["headerParameters"]["parameters"]}
    answer = httpx.request(
        given["method"],
        read(given["url"]),
        headers={
            **sent,
            "x-api-key": tenant.keys[Role.MANAGER],
            "content-type": "application/json",
        },
        content=read(given["jsonBody"]),
    )

    assert answer.status_code == 202
    assert (node["type"], node["typeVersion"]) == ("n8n-nodes-base.httpRequest", 4.2)
    assert site.world.rows("select idempotency_key from integration.idempotency_keys") == [
        {"idempotency_key": "17"}
    ]
