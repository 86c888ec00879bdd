"""A public reader that is not ours reads all of it right: dlt's REST API source."""

from __future__ import annotations

from typing import Any

import pytest
from dlt.sources.rest_api import rest_api_source

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve

pytestmark = pytest.mark.slow


def _read(sandbox: Sandbox, entity: str, **params: Any) -> list[dict[str, Any]]:
    source = rest_api_source(
        {
            "client": {
                "base_url": f"{sandbox.url}/api/v2/",
                "headers": {"x-api-token": sandbox.api_token},
                "paginator": {
                    "type": "cursor",
                    "cursor_path": "additional_data.next_cursor",
                    "cursor_param": "cursor",
                },
            },
            "resources": [
                {
                    "name": entity,
                    "endpoint": {
                        "path": entity,
                        "params": {"limit": 500, **params},
                        "data_selector": "data",
                    },
                }
            ],
        }
    )
    return list(source.resources[entity])


@pytest.mark.parametrize("entity", ["organizations", "persons"])
def test_dlts_rest_source_reads_every_row_and_value(entity: str) -> None:
    with serve(seeded(1_200, 3_500), has_limits=False) as sandbox:
        rows = _read(sandbox, entity)
        truth = list(sandbox.truth(entity))

    assert rows == truth


def test_dlts_rest_source_reads_what_changed_since() -> None:
    with serve(seeded(1_200, 3_500), has_limits=False) as sandbox:
        second = sandbox.account.edit_many("persons", range(500, 1_700), name="Zugleich")
        rows = _read(sandbox, "persons", updated_since=second, sort_by="update_time")

    assert [row["id"] for row in rows] == list(range(500, 1_700))
    assert {row["name"] for row in rows} == {"Zugleich"}
