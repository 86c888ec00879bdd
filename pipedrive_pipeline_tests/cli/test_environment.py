"""`env` and `psql` lead every other program to the same database."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipedrive_pipeline.cli.session import postgres_environment
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.embedded import running_server
from pipedrive_pipeline.warehouse.urls import facts_of
from pipedrive_pipeline_tests.cli.terminal import InProcessTerminal, Terminal
from pipedrive_pipeline_tests.scenarios.world import ACME, World


def test_what_env_prints_is_evaluated_by_a_plain_shell(
    in_process: InProcessTerminal, world: World
) -> None:
    """A password with a quote or a blank would end the export; `shlex` sees to that."""
    result = in_process.run("env")

    script = (
        f'{result.out}\nprintf "%s|%s|%s" "$PGDATABASE" "$DAGSTER_HOME" "$DAGSTER_DATABASE_URL"'
    )
    lines = subprocess.run(
        ["sh", "-euc", script], env={}, capture_output=True, text=True, check=True
    ).stdout.split("|")
    assert lines[0] in world.warehouse.url
    assert lines[1] == str(world.settings.pipeline_home / "dagster")
    assert facts_of(lines[2]).items() >= facts_of(world.warehouse.url).items()
    assert "TOKEN_ENCRYPTION_KEYS" not in result.out


def test_psql_is_given_all_that_the_url_asks_for() -> None:
    """It was given host and name only, and went without the encryption that `sslmode` asks for."""
    url = (
        "postgresql://u:p%20@one:1,two:2/name?sslmode=verify-full&sslrootcert=/a/b.crt"
        "&target_session_attrs=read-write&options=-c%20work_mem%3D8MB"
    )

    assert postgres_environment(Warehouse(url)) == {
        "PGHOST": "one,two",
        "PGPORT": "1,2",
        "PGUSER": "u",
        "PGPASSWORD": "p ",
        "PGDATABASE": "name",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/a/b.crt",
        "PGTARGETSESSIONATTRS": "read-write",
        "PGOPTIONS": "-c work_mem=8MB",
    }
    assert postgres_environment(Warehouse("postgresql:///?service=crm")) == {"PGSERVICE": "crm"}


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_dagster_yaml_of_the_operators_stays(
    is_linked: bool, in_process: InProcessTerminal, world: World
) -> None:
    """The guide puts that of Celery there; the next command replaced it, and no worker ran."""
    celery = PROJECT_ROOT / "deploy" / "celery" / "dagster.yaml"
    file = world.settings.pipeline_home / "dagster" / "dagster.yaml"
    file.parent.mkdir(parents=True)
    if is_linked:
        file.symlink_to(celery)
    else:
        file.write_bytes(celery.read_bytes())

    assert in_process.run("env").code == 0

    assert file.read_bytes() == celery.read_bytes()


def test_the_link_of_a_project_that_was_moved_is_made_again(
    in_process: InProcessTerminal, world: World, tmp_path: Path
) -> None:
    file = world.settings.pipeline_home / "dagster" / "dagster.yaml"
    file.parent.mkdir(parents=True)
    file.symlink_to(tmp_path / "gone" / "dagster.yaml")

    assert in_process.run("env").code == 0

    assert file.resolve() == PROJECT_ROOT / "dagster.yaml"


@pytest.fixture
def home() -> Iterator[Path]:
    """A place for an embedded server, ended at the end."""
    with tempfile.TemporaryDirectory(prefix="pp-") as folder:
        Path(folder).chmod(0o755)  # root's server runs as an account that must reach it
        try:
            yield Path(folder)
        finally:
            server = running_server(Path(folder))
            if server:
                server.stop()


@pytest.mark.slow
def test_psql_and_env_find_the_embedded_database(home: Path) -> None:
    terminal = Terminal({"PIPELINE_HOME": str(home)})
    added = terminal.run("tenants", "add", "acme")
    query = "select slug, current_setting('pipeline.tenant_id', true) from integration.tenants"

    result = terminal.run("psql", "--tenant", "acme", "-Atc", query)
    exports = terminal.run("env").out
    wrong = terminal.run("psql", "--tenant", "nobody", "-c", "select 1")

    assert added.code == 0
    assert (result.code, result.out) == (0, f"{ACME}|{ACME}\n")
    assert f"export PIPELINE_HOME={home}" in exports
    assert "export PGHOST=" in exports
    assert wrong.code == 2
    assert "nobody" in wrong.error
