"""`./run`: what it asks of uv, with a uv that only records its arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline_tests.planted_bugs import LEFT_OUT

NOTING_UV = """#!/bin/sh
[ "$1" = --version ] && echo "uv 0.13.8" && exit
echo "$1${UV_COMPILE_BYTECODE:+ compiled}" >>"$PWD/told"
echo "$UV_SYSTEM_CERTS $UV_NATIVE_TLS $SSL_CERT_FILE" >"$PWD/trusted"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the script, with an environment and a uv of its own."""
    shutil.copy(PROJECT_ROOT / "run", tmp_path / "run")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text(NOTING_UV)
    (tmp_path / "bin" / "uv").chmod(0o755)
    (tmp_path / "uv.lock").touch()
    os.utime(tmp_path / "uv.lock", (0, 0))
    (tmp_path / ".venv").mkdir()
    return tmp_path


def uv_commands(project: Path, **environment: str) -> list[str]:
    """Returns the uv commands that `./run status` runs."""
    variables = {"PATH": f"{project / 'bin'}:{os.environ['PATH']}", **environment}
    subprocess.run([project / "run", "status"], cwd=project, env=variables, check=True)
    lines = (project / "told").read_text().splitlines()
    (project / "told").unlink()
    return lines


@pytest.mark.slow
def test_bytecode_that_python_may_not_keep_is_made_once_for_each_lock(project: Path) -> None:
    """Else each run's process and each server compiles again all that it imports, for seconds."""
    first, second = (uv_commands(project, PYTHONDONTWRITEBYTECODE="1") for _ in range(2))
    os.utime(project / "uv.lock")  # other releases
    os.utime(project / ".venv" / ".compiled-run", (0, 0))

    after_an_upgrade = uv_commands(project, PYTHONDONTWRITEBYTECODE="1")

    assert (first, second) == (["run compiled", "run"], ["run"])
    assert after_an_upgrade == first


def test_bytecode_that_python_keeps_by_itself_is_left_to_it(project: Path) -> None:
    assert uv_commands(project) == ["run"]


@pytest.mark.parametrize(
    "variable", ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
)
def test_a_proxys_own_authority_is_trusted_as_pip_trusts_it(project: Path, variable: str) -> None:
    """By itself uv has a list of its own, and refused a company's proxy that pip accepts."""
    uv_commands(project, **{variable: "/etc/company.pem"})

    assert (project / "trusted").read_text().split() == ["true", "true", "/etc/company.pem"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_moved_clone_works(tmp_path: Path) -> None:
    """The scripts of an environment name its first folder; here it is there no more."""
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(PROJECT_ROOT, before, ignore=LEFT_OUT)
    if (own_uv := PROJECT_ROOT / ".local/uv").is_dir():
        shutil.copytree(own_uv, before / ".local/uv")
    variables = {name: text for name, text in os.environ.items() if name != "VIRTUAL_ENV"}

    for place in (before, after):
        if place is after:
            before.rename(after)
        shown = subprocess.run(
            [place / "run", "--help"], cwd=place, env=variables, capture_output=True, check=False
        )
        assert shown.returncode == 0, shown.stderr
        assert b"Usage" in shown.stdout
