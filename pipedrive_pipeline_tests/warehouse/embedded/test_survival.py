"""What a server outlives, and what a dead one leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from pipedrive_pipeline.warehouse.embedded import EmbeddedServer, StartFailed, running_server
from pipedrive_pipeline.warehouse.embedded.locks import hold
from pipedrive_pipeline.warehouse.embedded.os_account import account_for
from pipedrive_pipeline_tests.waiting import wait_until
from pipedrive_pipeline_tests.warehouse.embedded.conftest import Start, ask, tell

STARTS = """
import sys
from pathlib import Path
from pipedrive_pipeline.warehouse.embedded import ensure_running
print(ensure_running(Path(sys.argv[1]), system_folder=Path(sys.argv[2])).pid, flush=True)
"""


def command(home: Path, folder: Path) -> subprocess.Popen[str]:
    """A command in a process of its own that starts the server and waits to be ended."""
    return subprocess.Popen(
        [sys.executable, "-c", STARTS + "input()", str(home), str(folder / "system")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def pid_said(process: subprocess.Popen[str]) -> int:
    """The server's process id as the command printed it."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def kill(process: subprocess.Popen[str]) -> None:
    """End the command and all of its process group without a chance to tidy up."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def crash(server: EmbeddedServer) -> None:
    """End the server as a power cut would, and wait until nothing of it lives."""
    os.kill(server.pid, signal.SIGKILL)
    with hold(server.paths.server_lock, within_seconds=10):
        pass


@pytest.mark.slow
def test_a_killed_command_leaves_the_server_running(folder: Path, start: Start) -> None:
    """Closing a terminal must not end other commands' database."""
    process = command(folder / "home", folder)
    pid = pid_said(process)

    kill(process)

    assert start(folder / "home").pid == pid


@pytest.mark.slow
def test_eight_commands_at_once_share_one_server(folder: Path, start: Start) -> None:
    """First starts race for initdb, the lock and the socket."""
    with ThreadPoolExecutor(8) as pool:
        processes = list(pool.map(lambda _: command(folder / "home", folder), range(8)))
        pids = set(pool.map(pid_said, processes))
    for process in processes:
        kill(process)

    assert pids == {start(folder / "home").pid}


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.15, 0.25, 0.35, 0.45, 0.6])
def test_a_command_killed_while_starting_blocks_no_other(
    folder: Path, start: Start, seconds: float
) -> None:
    """Half a data directory is created again; a half-started server is waited for."""
    process = command(folder / "home", folder)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(seconds)

    kill(process)

    assert ask(start(folder / "home"), "select 1") == 1


@pytest.mark.slow
def test_a_crashed_server_is_started_again_with_its_rows(folder: Path, start: Start) -> None:
    """With fsync on, what was committed is there."""
    server = start(folder / "home")
    tell(server, "create table kept as select 7 as number")

    crash(server)

    assert ask(start(folder / "home"), "select number from kept") == 7


@pytest.mark.slow
def test_a_stale_process_id_is_neither_believed_nor_signalled(folder: Path, start: Start) -> None:
    """After a reboot the number in postmaster.pid is somebody else's; it once was ended."""
    server = start(folder / "home")
    crash(server)
    account = account_for(server.data_dir)
    bystander = subprocess.Popen(
        ["/bin/sleep", "60"], user=account.uid if os.geteuid() == 0 else None
    )
    for file in (server.data_dir / "postmaster.pid", *server.paths.socket.glob("*.lock")):
        lines = file.read_text().splitlines()
        file.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")

    start(folder / "home").stop()

    alive = bystander.poll() is None
    bystander.kill()
    bystander.wait()
    assert alive


@pytest.mark.slow
def test_a_server_started_by_hand_is_not_doubled(folder: Path, start: Start) -> None:
    """Two servers on one data directory would destroy it."""
    server = start(folder / "home")
    shown = server.paths.server_lock.rename(server.paths.server_lock.with_name("other.lock"))
    shutil.rmtree(server.paths.socket)

    with pytest.raises(StartFailed, match="already serves"):
        start(folder / "home")

    shown.rename(server.paths.server_lock)
    assert ask(start(folder / "home"), "select 1") == 1


@pytest.mark.slow
def test_a_server_whose_socket_was_taken_away_is_replaced(folder: Path, start: Start) -> None:
    """Cleaners of temporary folders do that; the server would hold its data for ever."""
    server = start(folder / "home")
    pid = server.pid

    shutil.rmtree(server.paths.socket)

    assert start(folder / "home").pid != pid


@pytest.mark.slow
def test_a_home_that_is_recreated_has_a_new_database(folder: Path, start: Start) -> None:
    """Who removes PIPELINE_HOME expects to begin again, even while the old server ends."""
    first = start(folder / "home")
    tell(first, "create table kept as select 7 as number")
    pid = first.pid
    shutil.rmtree(folder / "home")

    second = start(folder / "home")

    assert second.pid != pid
    assert not psutil.pid_exists(pid), "when it ends, it would unlink the second one's socket"
    assert ask(second, "select to_regclass('kept')") is None


@pytest.mark.slow
def test_a_home_that_is_renamed_while_its_server_runs_keeps_its_rows(
    folder: Path, start: Start
) -> None:
    """A clone is moved; its server answers, and fails at every new connection, for ever."""
    first = start(folder / "home")
    tell(first, "create table kept as select 7 as number")
    pid = first.pid
    (folder / "home").rename(folder / "moved")

    second = start(folder / "moved")

    assert ask(second, "select number from kept") == 7
    assert second.pid != pid
    wait_until(lambda: not psutil.pid_exists(pid), 10)


@pytest.mark.slow
def test_stop_rolls_back_open_work_and_may_be_repeated(folder: Path, start: Start) -> None:
    """A sync that still runs must not hold up the end of everything."""
    server = start(folder / "home")
    worker = psycopg.connect(server.url)
    worker.execute("create table unfinished ()")

    assert running_server(folder / "home") == server
    server.stop()
    server.stop()

    worker.close()
    assert running_server(folder / "home") is None
    assert ask(start(folder / "home"), "select to_regclass('unfinished')") is None
