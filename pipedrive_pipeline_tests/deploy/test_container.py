"""The container's files, and their steps without a container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipedrive_pipeline.defs.run_queue import RunQueue
from pipedrive_pipeline.settings import PROJECT_ROOT, Settings

FOLDER = PROJECT_ROOT / "deploy" / "container"
DOCKERFILE = FOLDER / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")
DAGSTERS_OWN = {"DAGSTER_HOME"}


def compose() -> dict[str, Any]:
    text: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return text


def instructions(kind: str) -> list[str]:
    """The arguments of each instruction of the Dockerfile's build stage."""
    build = DOCKERFILE.read_text().split("FROM")[1]
    return re.findall(rf"^{kind} (.*)$", build, re.MULTILINE)


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint has no wheel for this platform")
def test_the_dockerfile_passes_its_linter() -> None:
    output = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False)

    assert (output.stdout, output.returncode) == ("", 0)


def test_every_service_gives_up_what_it_does_not_need() -> None:
    services = compose()["services"]
    ours = {name: service for name, service in services.items() if name != "postgres"}

    assert set(ours) == {"migrate", "webserver", "daemon", "signals", "connect"}
    for service in ours.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert "USER 10001:10001" in DOCKERFILE.read_text()


def test_every_variable_is_a_setting() -> None:
    names = {
        name
        for service in compose()["services"].values()
        if service["image"] == "pipedrive-pipeline"
        for name in service["environment"]
    }

    assert names - {field.upper() for field in Settings.model_fields} == DAGSTERS_OWN


def test_the_values_for_kubernetes_run_without_rights() -> None:
    values = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text())
    deployment = values["dagster-user-deployments"]["deployments"][0]
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]

    for context in (
        deployment["securityContext"],
        launcher["runK8sConfig"]["containerConfig"]["securityContext"],
    ):
        assert context["runAsNonRoot"] is True
        assert context["allowPrivilegeEscalation"] is False
    assert deployment["dagsterApiGrpcArgs"] == ["--module-name", "pipedrive_pipeline.definitions"]


def test_a_cluster_has_our_queue_with_one_run_per_lock() -> None:
    """Dagster's own queue knew no lock of a run that was started by hand, and no limit."""
    values = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text())
    ours = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())
    coordinator = values["dagsterDaemon"]["runCoordinator"]
    queue = coordinator["config"]["customRunCoordinator"]
    limits = RunQueue(**queue["config"]).get_run_queue_config().tag_concurrency_limits

    assert coordinator["type"] == "CustomRunCoordinator"
    assert {name: queue[name] for name in ("module", "class")} == {
        name: ours["run_coordinator"][name] for name in ("module", "class")
    }
    assert limits == ours["concurrency"]["runs"]["tag_concurrency_limits"]
    for name in ("dagsterDaemon", "dagsterWebserver"):  # they import the queue
        assert values[name]["image"]["repository"] == "pipedrive-pipeline"


@pytest.mark.long
@pytest.mark.timeout(900)  # it installs every package
def test_the_steps_of_the_image_give_a_program_that_runs(tmp_path: Path) -> None:
    """The build stage, in a folder: only what the image gets, and no package of the tests."""
    ignored = (PROJECT_ROOT / ".dockerignore").read_text().split()
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if name.split("/")[0] not in ignored:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT_ROOT / name, tmp_path / name)
    programs = tmp_path.with_name("programs")
    subprocess.run([sys.executable, "-m", "venv", programs], check=True)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("UV", "VIRTUAL"))
    }
    environment = {
        **inherited,
        "UV_SYSTEM_CERTS": "true",  # as `./run` does: this machine's proxy may have its own
        "PATH": f"{programs}/bin:{os.environ['PATH']}",
        "PIPELINE_HOME": str(tmp_path.with_name("home")),
        **dict(pair.split("=", 1) for line in instructions("ENV") for pair in line.split()),
    }
    for step in instructions("RUN"):
        subprocess.run(["/bin/sh", "-c", step], cwd=tmp_path, env=environment, check=True)

    program = tmp_path / ".venv" / "bin" / "pipedrive-pipeline"
    helped = subprocess.run(
        [program, "--help"], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    listed = subprocess.run(
        ["uv", "pip", "list", "--python", tmp_path / ".venv"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert b"migrate" in helped.stdout
    packages = {line.split()[0] for line in listed.splitlines() if line}
    assert "celery" in packages
    assert "pytest" not in packages
