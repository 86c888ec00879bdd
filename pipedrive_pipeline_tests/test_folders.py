"""Temporary folders in memory: removed after each session, also after a killed one."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
from pathlib import Path

from pipedrive_pipeline_tests import folders


def test_a_folder_goes_with_its_session(tmp_path: Path) -> None:
    with folders.in_memory(tmp_path, needed_bytes=0) as folder:
        assert folder is not None
        (folder / "a file").write_text("content")

    assert list(tmp_path.iterdir()) == []


def test_another_account_can_enter_it(tmp_path: Path) -> None:
    """Root's test server runs as another account."""
    with folders.in_memory(tmp_path, needed_bytes=0) as folder:
        assert folder is not None
        assert folder.stat().st_mode & 0o777 == 0o755


def test_the_folder_of_a_killed_session_is_removed_by_the_next_one(tmp_path: Path) -> None:
    killed, alive = (tmp_path / f"{folders.PREFIX}{name}" for name in ("killed", "alive"))
    for folder in (killed, alive):
        folder.mkdir()
        (folder / folders.LOCK).touch()

    with (alive / folders.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with folders.in_memory(tmp_path, needed_bytes=0):
            names = {path.name for path in tmp_path.iterdir()}

    assert killed.name not in names
    assert alive.name in names


def test_without_room_in_memory_there_is_no_folder(tmp_path: Path) -> None:
    with folders.in_memory(tmp_path, needed_bytes=2**60) as folder:
        assert folder is None

    with folders.in_memory(tmp_path / "absent", needed_bytes=0) as folder:
        assert folder is None


def test_temporary_files_of_this_process_and_its_children_lie_in_one_folder(tmp_path: Path) -> None:
    root = Path(tempfile.gettempdir())

    assert root in tmp_path.parents
    assert subprocess.check_output(
        [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"], text=True
    ).strip() == str(root)
