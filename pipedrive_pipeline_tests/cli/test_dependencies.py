"""The bill of materials, and the licences of what is locked."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from typing import Any

import pytest

from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline_tests.cli.terminal import Terminal

COPYLEFT = ("GPL", "AGPL", "SSPL")
# LGPL allows use as a library; both are installed as wheels and can be replaced.
ALLOWED_COPYLEFT = {"psycopg", "psycopg-binary", "psycopg-pool", "psycopg2-binary"}


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    """What `./run dependencies sbom` prints."""
    environment = {**os.environ, "UV_OFFLINE": "1"}
    printed = subprocess.run(
        ["./run", "dependencies", "sbom"],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    facts: dict[str, Any] = json.loads(printed.stdout)
    return facts


@pytest.mark.slow
def test_the_bill_names_each_locked_package_with_its_hash(bill: dict[str, Any]) -> None:
    locked = tomllib.loads((PROJECT_ROOT / "uv.lock").read_text())["package"]
    versions = {package["name"]: package["version"] for package in locked}
    components = {component["name"]: component for component in bill["components"]}

    assert bill["bomFormat"] == "CycloneDX"
    assert {"dagster", "dlt", "psycopg", "fastapi", "celery"} <= set(components)
    assert "pytest" not in components
    assert {name: versions[name] for name in components} == {
        name: component["version"] for name, component in components.items()
    }
    assert all(component["purl"].startswith("pkg:pypi/") for component in components.values())


def test_each_licence_is_known_and_allows_use(bill: dict[str, Any]) -> None:
    licences = {
        component["name"]: component["licenses"][0]["license"]["name"]
        for component in bill["components"]
        if "licenses" in component
    }
    copyleft = {name for name, text in licences.items() if any(word in text for word in COPYLEFT)}

    assert len(licences) > 80
    assert copyleft <= ALLOWED_COPYLEFT


@pytest.mark.slow
def test_without_uv_the_command_says_how_to_run_it(terminal: Terminal) -> None:
    result = terminal.run("dependencies", "sbom", UV="")

    assert result.code == 2
    assert "./run dependencies" in result.error
