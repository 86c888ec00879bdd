"""The OpenAPI document passes the two linters that its readers use, without a warning."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pipedrive_pipeline_tests.connect.browser import ConnectSite

LINTERS = ("@redocly/cli@2", "@stoplight/spectral-cli@6")  # on npm


@pytest.mark.long
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node and npm, and their registry")
def test_the_openapi_document_passes_both_linters(site: ConnectSite, tmp_path: Path) -> None:
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), *LINTERS]
    subprocess.run(install, check=True, capture_output=True)
    (tmp_path / "openapi.json").write_text(json.dumps(site.app.openapi()))
    (tmp_path / ".spectral.yaml").write_text('extends: ["spectral:oas"]')
    shutil.copy(Path(__file__).with_name("redocly.yaml"), tmp_path)
    programs = tmp_path / "node_modules" / ".bin"

    redocly = subprocess.run(
        [programs / "redocly", "lint", "openapi.json", "--format", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    spectral = subprocess.run(
        [programs / "spectral", "lint", "openapi.json", "--fail-severity", "warn"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert redocly.returncode == 0, redocly.stderr + redocly.stdout
    assert json.loads(redocly.stdout)["problems"] == []
    assert spectral.returncode == 0, spectral.stdout
