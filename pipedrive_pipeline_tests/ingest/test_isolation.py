"""The loader reads nothing that we did not give it, tells nobody, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline_tests.ingest.conftest import RawLoader, record

ELSEWHERE = "postgresql://canary:canary@127.0.0.1:1/canary"
LOAD = """
import sys
from pathlib import Path

def refuse(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "localhost"):
        print("asked for", arguments[0])
    if event == "open" and str(arguments[0]).endswith(".anonymous_id"):
        print("opened", arguments[0])  # root's lies outside of HOME

sys.addaudithook(refuse)
sys.path.insert(0, sys.argv[3])
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.ingest.conftest import RawLoader, record

from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
RawLoader(Warehouse(sys.argv[1]), Path(sys.argv[2])).put(record(id=7, words="foreign"))
config = Container()[PluggableRunContext].context.runtime_config
print("telemetry", config.dlthub_telemetry, "level", config.log_level)
"""


@pytest.mark.slow
def test_configuration_of_another_project_is_ignored_and_nothing_phones_home(
    loader: RawLoader, tmp_path: Path
) -> None:
    """It looks for secrets in the folder and the environment of the process that starts it."""
    loader.put(record(id=1))
    project = tmp_path / "another project"
    (project / ".dlt").mkdir(parents=True)
    planted = f'[destination.postgres]\ncredentials = "{ELSEWHERE}"\n[runtime]\n'
    (project / ".dlt" / "secrets.toml").write_text(planted)
    (project / ".dlt" / "config.toml").write_text(
        "[runtime]\ndlthub_telemetry = true\nlog_level = 'DEBUG'\n[load]\ndelete_completed = 1\n"
    )
    home = tmp_path / "home"
    home.mkdir()

    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, loader.warehouse.url, str(loader.home), str(PROJECT_ROOT)],
        cwd=project,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "DESTINATION__POSTGRES__CREDENTIALS": ELSEWHERE,
            "DESTINATION__CREDENTIALS": ELSEWHERE,
            "CREDENTIALS": ELSEWHERE,
            "RUNTIME__DLTHUB_TELEMETRY": "true",
            "RUNTIME__LOG_LEVEL": "DEBUG",
            "DATASET_NAME": "elsewhere",
            "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "x",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert loaded.returncode == 0, loaded.stderr[-500:]
    assert loaded.stdout.splitlines() == ["telemetry False level CRITICAL"]
    assert "foreign" not in loaded.stderr
    assert [row["id"] for row in loader.rows()] == [1, 7]
    left = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    assert left == []
