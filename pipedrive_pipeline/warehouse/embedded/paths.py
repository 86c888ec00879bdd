"""The paths of one home's server, and the id that ties a server's files to their home.

    PIPELINE_HOME/postgres/     id, start.lock, password; `elsewhere` when the rest is not here
    base/                       that same folder, or the system folder's <id>
    ├── data/  socket/          private folders of the account that runs the server
    └── server.lock  postgresql.conf  pg_hba.conf  postgres.log

Nothing is started here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pipedrive_pipeline.warehouse.embedded.os_account import OsAccount

DATABASE = "pipeline"
SUPERUSER = "postgres"
SOCKET_PORT = 5432  # part of the socket's name; independent of the TCP port
SOCKET_PATH_BYTES = 103  # macOS's maximum for a socket's whole path; Linux has 107
# A comma is a list of hosts to libpq, and dlt writes a blank as "+", which libpq takes literally.
PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
SHORT_FOLDER = Path("/tmp")  # noqa: S108 - private folder inside, owner checked, named by the id

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerPaths:
    """The paths of one home's server."""

    home: Path
    base: Path
    id: str

    @property
    def data(self) -> Path:
        """Postgres's data directory; there only when it is complete."""
        return self.base / "data"

    @property
    def draft(self) -> Path:
        """The data directory while it is made."""
        return self.base / "data.new"

    @property
    def socket(self) -> Path:
        """The folder of the socket; a short and plain one elsewhere when the base is neither."""
        near = self.base / "socket"
        longest = os.fsencode(near / ".s.PGSQL.65535")
        if len(longest) <= SOCKET_PATH_BYTES and PLAIN.fullmatch(str(near)):
            return near
        # From id and path: neither a recreated home nor a copied one meets the other's server.
        digest = hashlib.sha256(f"{self.id} {self.base}".encode()).hexdigest()
        return SHORT_FOLDER / f"pipedrive-pipeline-{digest[:16]}"

    @property
    def log(self) -> Path:
        """The server's log; it contains no statement and no row."""
        return self.base / "postgres.log"

    @property
    def configuration(self) -> Path:
        """The server's settings, written at every start."""
        return self.base / "postgresql.conf"

    @property
    def access_rules(self) -> Path:
        """The rules of access (`pg_hba.conf`), written at every start."""
        return self.base / "pg_hba.conf"

    @property
    def server_lock(self) -> Path:
        """The lock that the server's processes hold as long as any of them lives."""
        return self.base / "server.lock"

    @property
    def password(self) -> Path:
        """The superuser's password for TCP, made when a port is first wanted."""
        return note_folder(self.home) / "password"

    @property
    def url(self) -> str:
        """The database through its socket, for psycopg, SQLAlchemy and dlt alike."""
        return f"postgresql://{SUPERUSER}:x@localhost:{SOCKET_PORT}/{DATABASE}?host={self.socket}"


def note_folder(home: Path) -> Path:
    """The folder in the home that identifies its server; always there."""
    return home / "postgres"


def start_lock(home: Path) -> Path:
    """The lock of the one command that may start, stop or lay out this home's server."""
    return note_folder(home) / "start.lock"


def known(home: Path) -> ServerPaths | None:
    """The paths of a home that has had a server; nothing is made or changed."""
    notes = note_folder(home)
    try:
        identity = (notes / "id").read_text()
    except FileNotFoundError:
        return None
    elsewhere = notes / "elsewhere"
    return ServerPaths(home, elsewhere.readlink() if elsewhere.is_symlink() else notes, identity)


def laid_out(home: Path, account: OsAccount, system_folder: Path) -> ServerPaths:
    """The paths of this home's server, chosen and made if it is new. Needs the start lock.

    The home itself, if ``account`` can enter it; else a folder of its own in ``system_folder``.
    """
    notes = note_folder(home)
    paths = known(home)
    if paths and paths.base != notes and _is_copied_home(paths):
        log.warning("%s was copied from another home; it begins with a database of its own", home)
        (notes / "elsewhere").unlink()
        paths = None
    if paths is None:
        identity = uuid4().hex
        _write(notes / "id", identity)
        paths = ServerPaths(home, notes, identity)
    if paths.base == notes and not paths.data.exists() and not account.can_enter(notes):
        paths = ServerPaths(home, system_folder / paths.id, paths.id)
        paths.base.mkdir(exist_ok=True, parents=True)
        (notes / "elsewhere").symlink_to(paths.base)
        log.info("Postgres cannot run below %s as an unprivileged account: %s", home, paths.base)
    if paths.base != notes:
        paths.base.mkdir(exist_ok=True, parents=True)
        _write(paths.base / "home", str(home))
    return paths


def former_servers(paths: ServerPaths) -> list[ServerPaths]:
    """Other servers' paths whose home was this folder before it was removed and recreated."""
    return [
        former
        for base in paths.base.parent.iterdir()
        if base != paths.base
        and _recorded_home(former := ServerPaths(paths.home, base, base.name)) == paths.home
    ]


def discard(folder: Path) -> None:
    """Removes an unfinished folder, if there is one."""
    if folder.exists():
        shutil.rmtree(folder)


def is_tied(paths: ServerPaths) -> bool:
    """True if the paths are this home's, not those of a home which was moved or copied here."""
    return paths.base == note_folder(paths.home) or _recorded_home(paths) == paths.home


def _is_copied_home(paths: ServerPaths) -> bool:
    recorded = _recorded_home(paths)
    if recorded is None or recorded == paths.home:
        return False
    other = known(recorded)
    return other is not None and other.id == paths.id


def _recorded_home(paths: ServerPaths) -> Path | None:
    try:
        return Path((paths.base / "home").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.rename(path)
