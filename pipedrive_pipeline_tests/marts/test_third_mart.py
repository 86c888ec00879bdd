"""One more mart and one more system: everything is derived from their declarations."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.warehouse.database import Warehouse


@pytest.mark.slow
def test_a_declared_mart_has_a_table_views_targets_assets_checks_erasure_and_docs(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """A third mart crashed after its commit, and was 41 files."""
    program = [sys.executable, "-m", "pipedrive_pipeline_tests.marts.third_mart"]

    ran = subprocess.run(
        [*program, warehouse.url, str(tmp_path)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr[-3_000:]
    assert json.loads(ran.stdout) == {
        "rows_created": 1,
        "shown": [
            {
                "name": "Drill",
                "price": "12.5",
                "cost": "12.5",
                "customer_name": "None",
                "customer_remote_id": "f-1",
            }
        ],
        "orphans": ["w-1"],
        "origin_of_name": ["title"],
        "assets": ["analytics/gadgets", "crm/gadgets", "toy/widget_fields", "toy/widgets"],
        "checks": [
            "all_tenants",
            "equals_raw",
            "null_conservation",
            "orphans",
            "rejected_values",
            "retyped_fields",
            "sinks",
            "unmapped_new_fields",
            "views_current",
            "volume",
        ],
        "documented": [True, True],
        "erased": 1,
        "rows_after_removal": 0,
    }
