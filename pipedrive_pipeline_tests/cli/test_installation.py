"""One `up` per installation, and nothing that outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from pipedrive_pipeline.cli import orphan_guard
from pipedrive_pipeline.cli.installation import Installation, UpIsRunning
from pipedrive_pipeline.cli.processes import Server, ServerDied, Servers
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline_tests.waiting import wait_until

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(300)"]
Process = subprocess.Popen[bytes]


@pytest.fixture
def children() -> Iterator[list[Process]]:
    """Two processes, each the leader of its group, as servers are."""
    with ExitStack() as stack:
        processes = [subprocess.Popen(SLEEP, start_new_session=True) for _ in range(2)]
        for process in processes:
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield processes


def test_a_second_up_is_refused_while_the_first_one_lives(tmp_path: Path) -> None:
    installation = Installation(tmp_path)

    with installation.only_one():
        with pytest.raises(UpIsRunning, match=str(tmp_path)), installation.only_one():
            pass
        running = installation.running_pid()

    assert running == os.getpid()
    assert installation.running_pid() is None
    with installation.only_one():
        pass


def test_leftovers_of_a_killed_up_are_ended(tmp_path: Path, children: list[Process]) -> None:
    """A process that has the same pid by now, but began later, is another program's."""
    left, other = children
    installation = Installation(tmp_path)
    installation.record_children([left.pid, other.pid])
    file = tmp_path / "up.children.json"
    began = str(psutil.Process(other.pid).create_time())
    file.write_text(file.read_text().replace(f"{other.pid}, {began}", f"{other.pid}, 1.0"))

    with installation.only_one():
        ended = (left.poll() is not None, other.poll() is not None)

    assert ended == (True, False)


def test_the_guard_ends_the_groups_of_an_up_that_died(children: list[Process]) -> None:
    """However it died: the end of its pipe is all that the guard waits for."""
    left, ended = children
    guard = subprocess.Popen(
        [sys.executable, "-S", orphan_guard.__file__], stdin=subprocess.PIPE, text=True
    )
    assert guard.stdin is not None
    guard.stdin.write(f"+{left.pid}\n+{ended.pid}\n-{ended.pid}\n")

    guard.stdin.close()
    left.wait(30)
    wait_until(lambda: guard.poll() is not None, 30)

    assert ended.poll() is None


@pytest.mark.slow
def test_a_server_that_ends_is_started_again_but_not_for_ever(tmp_path: Path) -> None:
    noted: list[list[int]] = []
    codes: list[int] = []
    servers = Servers(os.environ, noted.append)
    command = [sys.executable, "-S", "-c", "raise SystemExit(7)"]
    servers.start(Server("the server", command, "", None, tmp_path / "log"))

    def revive() -> bool:
        servers.revive(lambda _, code: codes.append(code))
        return False

    with pytest.raises(ServerDied, match="code 7"):
        wait_until(revive, 60)
    servers.stop()

    assert codes == [7] * 5
    assert len({pid for (pid,) in noted}) == 6


def test_a_server_starts_when_what_it_needs_is_there(tmp_path: Path) -> None:
    """A daemon that was there before the code server gave up the runs that it should try again."""
    needed, seen = tmp_path / "needed", tmp_path / "seen"
    servers = Servers(os.environ, lambda _: None)
    for name, script, needs in (
        ("second", f"test -e {needed} && touch {seen}; exec sleep 60", needed),
        ("first", f"sleep 0.5; touch {needed}; exec sleep 60", None),
    ):
        command = ["/bin/sh", "-c", script]
        servers.start(Server(name, command, "", None, tmp_path / name, needs))

    servers.wait_until_ready(lambda _: None)

    wait_until(seen.exists, 30)
    servers.stop()


@pytest.mark.slow
def test_the_app_url_follows_the_port(tmp_path: Path) -> None:
    """A link that leads to port 8000 is of no use where the app is on another one."""
    words = "from pipedrive_pipeline.settings import load_settings; print(load_settings().app_url)"
    environment = {**os.environ, "CONNECT_PORT": "8123", "PIPELINE_HOME": str(tmp_path)}

    printed = subprocess.run(
        [sys.executable, "-c", words],
        env=environment,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert printed.stdout.strip() == "http://127.0.0.1:8123/"
