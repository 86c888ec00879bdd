"""The units are ones that systemd understands, and that give up what they do not need."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipedrive_pipeline.settings import PROJECT_ROOT, Settings

UNITS = PROJECT_ROOT / "deploy" / "systemd"
INSTALLED_AT = "/opt/pipedrive-pipeline"
EXPOSURE_MAX = 25  # tenths, of systemd's own scale from 0 to 100
DAGSTERS_OWN = {"DAGSTER_HOME", "PYTHONPATH"}
CELERYS = {"CELERY_BROKER_URL", "CELERY_RESULT_URL"}

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="no systemd-analyze on this machine; `apt-get install systemd`",
)


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units as they are, but for where this project lies: links, for a path may hold blanks."""
    installed, programs = tmp_path / "installed", tmp_path / "programs"
    installed.symlink_to(PROJECT_ROOT)
    programs.symlink_to(Path(sys.executable).parent)
    commands = []
    for unit in sorted(UNITS.glob("*.service")):
        text = unit.read_text().replace(f"{INSTALLED_AT}/.venv/bin", str(programs))
        commands.append(tmp_path / unit.name)
        commands[-1].write_text(text.replace(INSTALLED_AT, str(installed)))
    return commands


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *map(str, words)], capture_output=True, text=True, check=False
    )


@needs_systemd
def test_systemd_understands_every_unit_and_finds_its_program(units: list[Path]) -> None:
    output = analyze("verify", *units)

    ours = [line for line in output.stderr.splitlines() if "pipedrive-pipeline" in line]
    assert len(units) == 6
    assert ours == []
    assert output.returncode == 0, output.stderr


@needs_systemd
def test_a_unit_that_is_broken_into_stays_in_its_room(units: list[Path]) -> None:
    for unit in units:
        output = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX}", unit)

        assert output.returncode == 0, output.stdout[-300:]


def test_the_environment_file_names_settings_and_nothing_else() -> None:
    """A misspelt one would be ignored without a word."""
    lines = (UNITS / "pipedrive-pipeline.env").read_text().splitlines()
    named = {match[1] for line in lines if (match := re.match(r"#? ?([A-Z_]+)=", line))}

    assert named - {name.upper() for name in Settings.model_fields} == DAGSTERS_OWN | CELERYS
