"""What the CRM API says of itself."""

from __future__ import annotations

from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline_tests.connect.browser import ConnectSite

API = "/api/crm/v1"
RESOURCES = [declared.api for declared in MARTS if declared.api]


def test_it_lists_what_each_system_can_do_with_each_resource(site: ConnectSite) -> None:
    answer = site.operator().get(API)

    listed = {each["path"]: each for each in answer.json()["data"]["resources"]}
    assert list(listed) == [resource.path for resource in RESOURCES]
    for resource in listed.values():
        assert {"list", "read"} <= set(resource["systems"]["pipedrive"])
        assert {"id", "updated_at"} <= set(resource["sorts"])
    assert "search" in listed["persons"]["filters"]
    assert {"create", "update", "win"} <= set(listed["deals"]["systems"]["pipedrive"])
    assert listed["users"]["systems"]["pipedrive"] == ["list", "read"]
