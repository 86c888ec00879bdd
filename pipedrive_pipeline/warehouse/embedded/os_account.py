"""Chooses the operating system account that runs Postgres: ours or, for root, an unprivileged one.

Source: Postgres refuses root, https://www.postgresql.org/docs/18/app-postgres.html (read 2026-11)
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipedrive_pipeline.warehouse.embedded.errors import HomeUnusable, NoAccount

UNPRIVILEGED = ("postgres", "nobody")  # the first that the machine has

# A broken LC_ALL stops initdb; PG* variables would redirect the server.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class OsAccount:
    """An account of this machine."""

    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        """True if this process runs as the account."""
        return self.uid == os.geteuid()

    def run(
        self,
        command: Sequence[str | Path],
        *,
        folder: Path,
        said: str | None = None,
        complaints: int | IO[bytes] = subprocess.STDOUT,
        inherits: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the account, in a session of its own, and return what it printed.

        Args:
            command: program and arguments.
            folder: its working folder; the caller's may be closed to the account.
            said: what it reads from its input, nothing by default.
            complaints: where its standard error goes.
            inherits: file descriptors that it keeps open.
        """
        return subprocess.run(  # noqa: S603 - our own programs, no shell reads the words
            [str(word) for word in command],
            cwd=folder,
            env=ENVIRONMENT,
            input=said or "",
            stdout=subprocess.PIPE,
            stderr=complaints,
            encoding="utf-8",
            errors="replace",
            pass_fds=inherits,
            start_new_session=True,
            umask=0o077,
            user=None if self.is_ours else self.uid,
            group=None if self.is_ours else self.gid,
            extra_groups=None if self.is_ours else (),
            check=False,
        )

    def can_enter(self, folder: Path) -> bool:
        """True if the account can enter ``folder``: tried, not computed from modes."""
        if self.is_ours:
            return os.access(folder, os.X_OK)
        return self.run(["/bin/sh", "-c", 'cd -- "$0"', folder], folder=Path("/")).returncode == 0

    def own(self, folder: Path) -> None:
        """Make ``folder`` if it is absent, as a private one of the account.

        Raises:
            HomeUnusable: it is somebody else's, or open to others.
        """
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if status.st_uid == os.geteuid() != self.uid:
            os.chown(folder, self.uid, self.gid, follow_symlinks=False)
            status = folder.lstat()
        if folder.is_symlink() or status.st_uid != self.uid or status.st_mode & 0o077:
            raise HomeUnusable(folder, "it is not a private folder of the account that needs it")


def account_for(data: Path) -> OsAccount:
    """The account that runs the server of ``data``: its owner; else us, unless we are root.

    Raises:
        HomeUnusable: the data belong to somebody else.
        NoAccount: we are root and cannot become anybody else.
    """
    us = OsAccount(os.geteuid(), os.getegid())
    if data.is_dir() and (owner := data.stat()).st_uid != 0:
        if us.uid not in (0, owner.st_uid):
            raise HomeUnusable(data, f"it belongs to {_name(owner.st_uid)}")
        return OsAccount(owner.st_uid, owner.st_gid)
    return _unprivileged() if us.uid == 0 else us


def _unprivileged() -> OsAccount:
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        account = OsAccount(entry.pw_uid, entry.pw_gid)
        try:
            account.run(["/bin/sh", "-c", ":"], folder=Path("/"))
        except OSError as error:  # a container without the right to change its user
            raise NoAccount(f"it cannot become `{name}` here ({error.strerror})") from error
        return account
    raise NoAccount(f"this machine has none of the accounts {', '.join(UNPRIVILEGED)}")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"
