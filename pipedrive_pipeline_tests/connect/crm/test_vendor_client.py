"""The vendor's client for Node and our API, each writing in its own way, see the same records."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.connect.crm.installation import data
from pipedrive_pipeline_tests.sandbox.test_vendor_sdk import PACKAGES
from pipedrive_pipeline_tests.scenarios.world import World

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("npm") is None, reason="needs Node and npm, and their registry"
    ),
]
API = "/api/crm/v1"
# The vendor's key of each field that both are asked for, by ours.
FIELDS = {
    "organizations": {"name": "name", "website": "website"},
    "deals": {"title": "title", "value": "value", "currency": "currency", "status": "status"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the vendor's client."""
    folder = tmp_path_factory.mktemp("client")
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), PACKAGES[0]]
    subprocess.run(install, check=True, capture_output=True)
    shutil.copy(Path(__file__).with_name("vendor_client.js"), folder)
    return folder


def test_the_vendors_client_and_our_api_see_the_same_records(
    admin: httpx.Client, sandbox: Sandbox, world: World, folder: Path
) -> None:
    def vendor(step: str, **sent: Any) -> dict[str, Any]:
        command = ["node", "vendor_client.js", sandbox.url, sandbox.api_token, step]
        done = subprocess.run(
            [*command, json.dumps(sent)], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        shown: dict[str, Any] = json.loads(done.stdout)
        return shown

    def ours(path: str, remote_id: Any) -> dict[str, Any]:
        return data(admin.get(f"{API}/{path}/pipedrive:{remote_id}"))

    def assert_same(organization_id: int, deal_id: int) -> None:
        theirs = vendor("read", organization_id=organization_id, deal_id=deal_id)
        for path, record in (
            ("organizations", theirs["organization"]),
            ("deals", theirs["deal"]),
        ):
            shown = ours(path, record["id"])
            assert {key: shown[key] for key in FIELDS[path]} == {
                key: record[name] for key, name in FIELDS[path].items()
            }

    made = vendor(
        "create",
        organization={"name": "Vom Hersteller", "website": "https://a.example"},
        deal={"title": "Vom Hersteller", "value": 10, "currency": "EUR"},
    )
    world.sync()
    assert_same(made["organization"]["id"], made["deal"]["id"])
    admin.patch(
        f"{API}/organizations/pipedrive:{made['organization']['id']}", json={"name": "Von uns"}
    )
    admin.post(f"{API}/deals/pipedrive:{made['deal']['id']}/won")
    assert_same(made["organization"]["id"], made["deal"]["id"])
    own = data(admin.post(f"{API}/organizations", json={"name": "Unsere"}), 201)
    deal = data(
        admin.post(f"{API}/deals", json={"title": "Unseres", "value": 5, "currency": "EUR"}), 201
    )
    vendor(
        "change",
        organization_id=int(own["remote_id"]),
        organization={"name": "Doch nicht"},
        deal_id=int(deal["remote_id"]),
        deal={"value": 6},
    )
    changed = admin.patch(f"{API}/organizations/{own['id']}", json={"website": "https://b.example"})
    data(admin.patch(f"{API}/deals/{deal['id']}", json={"title": "Beides"}))

    assert_same(int(own["remote_id"]), int(deal["remote_id"]))
    assert data(changed)["name"] == "Doch nicht"
    assert {each["field"] for each in changed.json()["meta"]["warnings"]} == set()
