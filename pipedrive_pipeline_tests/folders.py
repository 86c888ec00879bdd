"""Temporary folders of the suite: in memory where the machine has room for them.

A test's database is a copy of 527 files. On ext4 such a copy took up to 0.3 s of the kernel's time,
in memory it takes 0.02 s. Set `TMPDIR` to have the files somewhere else, such as after a failure:
this folder goes with the session.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a session makes a folder of its own in it
NEEDED_BYTES = 4 * 1024**3  # the suite's files take 1 GiB at most, its processes as much
PREFIX, LOCK = "pipeline-tests-", "lock"


@contextmanager
def in_memory(
    parent: Path = SHARED_MEMORY, needed_bytes: int = NEEDED_BYTES
) -> Iterator[Path | None]:
    """Yields a folder in memory for temporary files, or None where memory is short.

    The folder is locked while its session lives. Folders of killed sessions are removed first.
    """
    if not _has_room(parent, needed_bytes):
        yield None
        return
    _remove_unlocked(parent)
    folder = open_folder(parent, PREFIX)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


def open_folder(parent: Path | None = None, prefix: str = "pp-") -> Path:
    """A new short folder that any account may enter: root's server runs as another account.

    Unlike `tmp_path`, which lies behind a private folder. The caller removes it.
    """
    folder = Path(tempfile.mkdtemp(dir=parent or _short_root(), prefix=prefix))
    folder.chmod(0o755)
    return folder


def _short_root() -> Path:
    """The session's folder in memory, or /tmp: macOS's own TMPDIR is too long for a socket."""
    root = Path(tempfile.gettempdir())
    return root if root.parent == SHARED_MEMORY else Path("/tmp")  # noqa: S108


def _has_room(parent: Path, needed_bytes: int) -> bool:
    return (
        os.access(parent, os.W_OK | os.X_OK)
        and shutil.disk_usage(parent).free >= needed_bytes
        and psutil.virtual_memory().available >= needed_bytes
    )


def _remove_unlocked(parent: Path) -> None:
    for lock_path in parent.glob(f"{PREFIX}*/{LOCK}"):
        try:
            with lock_path.open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its session lives, or it is another account's
            continue
        shutil.rmtree(lock_path.parent, ignore_errors=True)
