"""What Dagster sees at load: no work, and every asset as it was agreed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipedrive_pipeline import definitions
from pipedrive_pipeline.cli.session import CommandSession, dagster_environment
from pipedrive_pipeline.definitions import defs
from pipedrive_pipeline.defs.marts import REPORT_SPECS, view_asset
from pipedrive_pipeline.defs.table_checks import mart_asset
from pipedrive_pipeline.settings import PROJECT_ROOT, Settings
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.sql_files import view_files
from pipedrive_pipeline_tests.orbit.connector import ORBIT

SNAPSHOT = Path(__file__).with_name("asset_specs.json")
HOW_TO_RENEW = "if it is meant so, `UPDATE_DOCS=1 pytest -m generated` writes asset_specs.json"
MADE_UP = f"{ORBIT.key}/"  # of the system that only the tests have


def described() -> dict[str, Any]:
    """Every asset of ours as a reader of the UI sees it, by key."""
    return {
        "/".join(spec.key.path): {
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "deps": sorted(
                key
                for dep in spec.deps
                if not (key := "/".join(dep.asset_key.path)).startswith(MADE_UP)
            ),
            "description": spec.description,
            "table": spec.metadata["dagster/table_name"],
            "owners": list(spec.owners),
            "tags": {
                name: value
                for name, value in sorted(spec.tags.items())
                if not name.startswith("dagster/kind/")
            },
            "code": sorted(
                {
                    str(Path(reference.file_path).relative_to(PROJECT_ROOT))
                    for reference in spec.metadata["dagster/code_references"].code_references
                    if "orbit" not in reference.file_path
                }
            ),
            "columns": columns(spec),
        }
        for spec in sorted(
            defs.resolve_all_asset_specs(), key=lambda spec: spec.key.to_user_string()
        )
        if spec.key.path[0] != ORBIT.key
    }


def columns(spec: dg.AssetSpec) -> dict[str, str]:
    """Name and type of each declared column."""
    schema = spec.metadata.get("dagster/column_schema")
    return {column.name: column.type for column in schema.columns} if schema else {}


@pytest.mark.generated
def test_every_asset_is_as_it_was_agreed() -> None:
    """A renamed asset loses its history, and checks from outside call it by name."""
    if os.environ.get("UPDATE_DOCS"):
        SNAPSHOT.write_text(json.dumps(described(), indent=2) + "\n")

    assert described() == json.loads(SNAPSHOT.read_text()), HOW_TO_RENEW


def test_every_asset_and_column_says_what_it_is() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert spec.description, spec.key
        schema = spec.metadata.get("dagster/column_schema")
        assert all(column.description for column in (schema.columns if schema else ())), spec.key


def test_every_asset_has_an_owner_a_storage_a_table_and_its_code() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert list(spec.owners) == ["team:data-engineering"], spec.key
        assert spec.tags["dagster/storage_kind"] == "postgres"
        assert "." in spec.metadata["dagster/table_name"]
        references = spec.metadata["dagster/code_references"].code_references
        assert references, spec.key
        for reference in references:
            lines = Path(reference.file_path).read_text().splitlines()
            assert 1 <= reference.line_number <= len(lines)


def test_an_asset_depends_only_on_what_is_read_for_it() -> None:
    """Customers depended on persons and on the fields of persons."""
    deps = {
        spec.key.to_user_string(): {
            key
            for dep in spec.deps
            if not (key := dep.asset_key.to_user_string()).startswith(MADE_UP)
        }
        for spec in defs.resolve_all_asset_specs()
    }

    assert deps["crm/customers"] == {
        "pipedrive/organizations",
        "pipedrive/organization_fields",
        "crm/users",
    }
    assert deps["crm/users"] == {"pipedrive/users"}
    assert {"pipedrive/persons", "crm/contacts", "crm/customers"} <= deps["analytics/contacts"]
    assert not deps["pipedrive/persons"]


def test_a_view_of_figures_is_an_asset_behind_the_marts_that_it_reads() -> None:
    """The funnel and the monthly figures, which people look at, were missing in the lineage."""
    deps = {spec.key: {dep.asset_key for dep in spec.deps} for spec in REPORT_SPECS}

    assert {key.path[-1] for key in deps} == {
        "activities_daily",
        "deal_funnel",
        "last_touch",
        "pipeline_today",
        "stage_durations",
        "won_lost_monthly",
    }
    for file in view_files():
        text = "\n".join(line for line in file.text.splitlines() if not line.startswith("--"))
        read = {mart_asset(name) for name in re.findall(r"\bcrm\.([a-z_]+)", text)}
        assert deps.get(view_asset(file.name), set()) == read, file.name


@pytest.mark.slow
def test_owners_come_from_the_setting(tmp_path: Path) -> None:
    script = (
        "from pipedrive_pipeline.definitions import defs\n"
        "print({owner for spec in defs.resolve_all_asset_specs() for owner in spec.owners})\n"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PIPELINE_HOME": str(tmp_path),
        "ASSET_OWNERS": "ada@acme.example",
    }

    loaded = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert loaded.stdout.strip() == "{'ada@acme.example'}", loaded.stderr[-500:]


def test_every_asset_is_partitioned_by_tenant_and_by_one_tenant_a_run() -> None:
    """With a policy, the runs of a backfill of assets name a range of tenants, and none of them."""
    graph = defs.resolve_asset_graph()

    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.partitions_def is not None
        assert node.partitions_def.name == "tenants"  # type: ignore[attr-defined]
        assert node.backfill_policy is None


def test_the_agreed_jobs_are_there() -> None:
    names = {job.name for job in defs.resolve_all_job_defs()}

    assert {"sync", "full_resync"} <= names


@pytest.mark.slow
def test_definitions_load_without_environment_network_or_database(tmp_path: Path) -> None:
    """A token read or a connection at import would fail every load of the code location."""
    script = (
        "import socket, sys\n"
        "def refuse(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'):\n"
        "        raise SystemExit(f'{event} at import')\n"
        "sys.addaudithook(refuse)\n"
        "from pipedrive_pipeline.definitions import defs\n"
        "print(len(defs.resolve_all_asset_specs()))\n"
    )
    environment = {"PATH": os.environ["PATH"], "PIPELINE_HOME": str(tmp_path / "home")}

    agreed = json.loads(SNAPSHOT.read_text())

    loaded = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (loaded.returncode, loaded.stdout.strip()) == (0, str(len(agreed))), loaded.stderr[-500:]
    assert not (tmp_path / "home").exists()


def test_workspace_and_pyproject_name_the_same_location() -> None:
    """Two entry points that disagree: what `up` shows is not what a bare `dagster dev` shows."""
    workspace = yaml.safe_load((PROJECT_ROOT / "workspace.yaml").read_text())
    tools = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]
    project = tools["dg"]["project"]

    ((kind, module),) = workspace["load_from"][0].items()
    named = {
        (module["module_name"], module["location_name"]),
        (tools["dagster"]["module_name"], tools["dagster"]["code_location_name"]),
        (project["code_location_target_module"], project["code_location_name"]),
    }

    assert kind == "python_module"
    assert named == {(definitions.__name__, project["root_module"])}
    assert module["working_directory"] == "."  # else a bare `dagster dev` cannot import us


@pytest.mark.slow
@pytest.mark.parametrize("entry", [["-w", "workspace.yaml"], []], ids=["workspace", "pyproject"])
def test_dagster_finds_the_definitions_valid(
    entry: list[str], warehouse: Warehouse, tmp_path: Path
) -> None:
    """From either entry point, with what `./run env` prints and nothing else."""
    session = CommandSession(Settings(pipeline_home=tmp_path), warehouse)

    validated = subprocess.run(
        [Path(sys.executable).with_name("dagster"), "definitions", "validate", *entry],
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"], **dagster_environment(session)},
        capture_output=True,
        text=True,
        check=False,
    )

    output = validated.stdout + validated.stderr
    assert validated.returncode == 0, output
    assert "Validation successful for code location pipedrive_pipeline" in output
    assert "All code locations passed validation" in output


@pytest.mark.slow
def test_dg_finds_the_same_definitions_and_phones_nobody(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """As CONTRIBUTING.md says: the newer command line, with what `./run env` prints."""
    session = CommandSession(Settings(pipeline_home=tmp_path), warehouse)

    listed = subprocess.run(
        [Path(sys.executable).with_name("dg"), "list", "defs", "--json"],
        cwd=PROJECT_ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            **dagster_environment(session),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert listed.returncode == 0, listed.stdout + listed.stderr
    keys = {asset["asset_key"] for asset in json.loads(listed.stdout)["assets"]}
    assert keys == json.loads(SNAPSHOT.read_text()).keys()
    assert "usage statistics" not in listed.stdout + listed.stderr
