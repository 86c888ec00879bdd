"""Creates and removes a run's temporary folder, which no other process removes.

The path names the database, so that two installations may share a `PIPELINE_HOME`. A run locks its
folder, and the kernel releases the lock when the process ends. A folder without a lock was left by
a dead run; the tenant's next run removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.warehouse.database import Warehouse


@contextmanager
def scratch(settings: Settings, warehouse: Warehouse, scope: Scope) -> Iterator[Path]:
    """Yields a new folder for the length of the block; removes the folders of dead runs."""
    folders = _folders(settings, warehouse, scope)
    folders.mkdir(parents=True, exist_ok=True)
    with _lock(folders):
        _remove_dead(folders)
        folder = Path(tempfile.mkdtemp(dir=folders))
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def clear_scratch(settings: Settings, warehouse: Warehouse, scope: Scope) -> None:
    """Removes the files that dead runs of the tenant left; those of a live process stay."""
    folders = _folders(settings, warehouse, scope)
    if not folders.is_dir():
        return
    with _lock(folders):
        _remove_dead(folders)
        with suppress(OSError):  # a live run has it locked
            folders.rmdir()


def _folders(settings: Settings, warehouse: Warehouse, scope: Scope) -> Path:
    return scope.scratch_directory(settings.pipeline_home, warehouse.identity())


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keeps other processes from creating or removing subfolders during the block."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_dead(folders: Path) -> None:
    for path in folders.iterdir():
        if path.is_dir() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            finally:
                os.close(descriptor)
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
