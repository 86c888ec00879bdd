"""The vendor's own client library for Node works against the sandbox; only the path differs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipedrive_pipeline.sandbox import Sandbox
from pipedrive_pipeline_tests.sandbox.client import CALLBACK

SDK = "pipedrive@32.2.1"  # on npm


@pytest.mark.long
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node and npm, and their registry")
def test_the_vendors_client_lists_writes_merges_and_authorizes(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), SDK]
    subprocess.run(install, check=True, capture_output=True)
    script = Path(__file__).with_name("vendor_sdk.js")
    shutil.copy(script, tmp_path)
    code = sandbox.grants.code(sandbox.account.admin_id, CALLBACK)
    credentials = [sandbox.api_token, sandbox.client_id, sandbox.client_secret, code]

    run = subprocess.run(
        ["node", script.name, sandbox.url, *credentials],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
