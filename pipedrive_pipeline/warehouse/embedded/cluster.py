"""Creates the data directory and writes the configuration that the server starts with.

Source: https://www.postgresql.org/docs/18/runtime-config.html (read 2026-11)
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pipedrive_pipeline.warehouse.embedded.binaries import Binaries
from pipedrive_pipeline.warehouse.embedded.errors import ServerDiskFull, StartFailed
from pipedrive_pipeline.warehouse.embedded.os_account import OsAccount
from pipedrive_pipeline.warehouse.embedded.paths import (
    DATABASE,
    SOCKET_PORT,
    SUPERUSER,
    ServerPaths,
    discard,
)

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only its size is read

# Only its account and root may enter the socket's folder, so the socket needs no password.
ACCESS_RULES = """\
local all all trust
host all all 127.0.0.1/32 scram-sha-256
"""

SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "'128MB'",
    "maintenance_work_mem": "'128MB'",
    "work_mem": "'16MB'",
    "random_page_cost": "1.1",
    "huge_pages": "off",  # `try` ends in SIGBUS where a container's limit for them is 0
    "jit": "off",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "lc_messages": "'C'",
    # Errors go to the client that caused them. In the log they would leave names and addresses.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}


def create(paths: ServerPaths, account: OsAccount, binaries: Binaries, lock: int) -> None:
    """Make the data directory with its database in it, whole or not at all.

    ``lock`` is the server's lock, inherited: a killed command's initdb delays the next command.

    Raises:
        StartFailed: initdb gave up; its last words are in the message.
        ServerDiskFull: there is no room for it.
    """
    discard(paths.draft)
    paths.password.unlink(missing_ok=True)  # of a database that is gone
    account.own(paths.draft)
    options = [
        "--username",
        SUPERUSER,
        "--auth",
        "trust",
        "--encoding",
        "UTF8",
        "--no-instructions",
    ]
    locale = ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    command: list[str | Path] = [binaries.initdb, "-D", paths.draft, *options, *locale]
    _done(paths, account, command, inherits=lock)
    # Inside before the directory gets its name: no command finds a server without its database.
    single: list[str | Path] = [binaries.postgres, "--single", "-D", paths.draft, "postgres"]
    _done(paths, account, single, inherits=lock, said=f"create database {DATABASE};\n")
    paths.draft.rename(paths.data)


def configure(paths: ServerPaths, port: int | None) -> None:
    """Write the settings for the next start: socket only, or with TCP on loopback."""
    own = {
        "listen_addresses": "'127.0.0.1'" if port else "''",
        "port": str(port or SOCKET_PORT),
        "unix_socket_directories": quoted(_list_item(str(paths.socket))),
        "unix_socket_permissions": "0700",
        "hba_file": quoted(str(paths.access_rules)),
        "dynamic_shared_memory_type": "mmap" if _is_cramped(SHARED_MEMORY) else "posix",
    }
    lines = [f"{name} = {value}\n" for name, value in {**SETTINGS, **own}.items()]
    _replace(paths.configuration, "# Written at every start; changes here are lost.\n", *lines)
    _replace(paths.access_rules, ACCESS_RULES)


def quoted(text: str) -> str:
    """A string in the quoting of a Postgres settings file."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _list_item(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _is_cramped(folder: Path) -> bool:
    # A container's 64 MB end parallel queries with "could not resize shared memory segment".
    return not folder.is_dir() or shutil.disk_usage(folder).total < 256 * 1024**2


def _replace(path: Path, *texts: str) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    draft.write_text("".join(texts))
    draft.chmod(0o644)  # read by the account; holds no secret
    draft.rename(path)


def _done(
    paths: ServerPaths,
    account: OsAccount,
    command: list[str | Path],
    *,
    inherits: int,
    said: str | None = None,
) -> None:
    done = account.run(command, folder=paths.draft, said=said, inherits=[inherits])
    # In single-user mode a failed statement ends with code 0.
    if done.returncode == 0 and "ERROR:" not in done.stdout:
        return
    if "No space left on device" in done.stdout:
        raise ServerDiskFull(paths.base)
    complaints = [
        line for line in done.stdout.splitlines() if re.search("error:|ERROR:|FATAL:", line)
    ]
    last = (complaints or done.stdout.splitlines() or [f"exit code {done.returncode}"])[0]
    raise StartFailed(f"{Path(command[0]).name}: {last.strip().rstrip('.')}.", paths.log)
