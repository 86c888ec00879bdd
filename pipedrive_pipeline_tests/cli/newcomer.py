"""An ordinary user's clone, and the terminal that this user types in.

As root, the clone belongs to the account `nobody`, and every command runs with its rights.
"""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline_tests.planted_bugs import LEFT_OUT
from pipedrive_pipeline_tests.waiting import wait_until

NOBODY = 65_534
COLUMNS, LINES = 80, 45
PATIENCE_SECONDS = 300
PROMPT = "newcomer$ "
DONE = "--- done"


@dataclass(frozen=True)
class Newcomer:
    """A clone, and the variables of its user's shell."""

    clone: Path
    environment: Mapping[str, str]

    @property
    def rights(self) -> list[str]:
        """The words before a command that give it the rights of an ordinary user."""
        if os.geteuid() != 0:
            return []
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def newcomer(folder: Path, settings: Mapping[str, str]) -> Newcomer:
    """Returns a copy of this tree with an environment of its own, as after the first `./run`.

    The packages are those of the running environment, so that nothing is downloaded.
    """
    clone = folder / "clone"
    shutil.copytree(PROJECT_ROOT, clone, ignore=LEFT_OUT)
    python = _python_for_everybody()
    environment = clone / ".venv"
    subprocess.run([python, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = (environment / "lib").glob("python*/site-packages")
    (packages / "suite.pth").write_text(f"{clone}\n" + "\n".join(site.getsitepackages()) + "\n")
    for script in Path(sys.executable).parent.iterdir():
        if script.is_file() and script.read_bytes()[:2] == b"#!" and not script.is_symlink():
            first, _, rest = script.read_bytes().partition(b"\n")
            if b"python" in first:
                copy = environment / "bin" / script.name
                copy.write_bytes(f"#!{environment}/bin/python\n".encode() + rest)
                copy.chmod(0o755)
    own_uv = PROJECT_ROOT / ".local/uv"
    if own_uv.is_dir():
        shutil.copytree(own_uv, clone / ".local/uv")
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", clone], check=True)
    shell = {
        "PATH": os.environ["PATH"],
        "HOME": str(clone),
        "LANG": "C.UTF-8",
        "SHELL": "/bin/sh",
        "TERM": "screen",
        "PS1": PROMPT,
        "UV_NO_SYNC": "1",  # the packages are there
        "UV_CACHE_DIR": str(clone / ".local/uv/cache"),
        **settings,
    }
    return Newcomer(clone, shell)


def moved(who: Newcomer) -> Newcomer:
    """Renames the clone; its next `./run` may download packages, as it does for everybody."""
    clone = who.clone.rename(who.clone.with_name("moved"))
    shell = {
        name: text.replace(str(who.clone), str(clone))
        for name, text in who.environment.items()
        if name != "UV_NO_SYNC"
    }
    return Newcomer(clone, shell)


def _python_for_everybody() -> str:
    """A Python of this version that an ordinary user may execute."""
    own = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for path in (str(own), f"/usr/bin/{own.name}"):
        # By a shell: setpriv itself still has root's rights when it opens the first program.
        words = [*Newcomer(Path(), {}).rights, "sh", "-c", 'exec "$0" -c ""', path]
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return path
    raise AssertionError(f"no {own.name} that an ordinary user may execute")


class Tmux:
    """Windows of 80 columns in which a person types; one server, ended with the object."""

    def __init__(self, who: Newcomer) -> None:
        self._who = who
        self._socket = who.clone / ".local" / f"tmux-{who.clone.name}"
        (who.clone / ".local").mkdir(exist_ok=True)
        if os.geteuid() == 0:
            os.chown(who.clone / ".local", NOBODY, NOBODY)

    def open(self, name: str) -> None:
        """Opens a window with a shell in the clone."""
        size = ("-x", str(COLUMNS), "-y", str(LINES))
        self._tmux("new-session", "-d", "-s", name, *size, "sh")
        self.wait(name, re.escape(PROMPT.strip()))

    def type(self, name: str, line: str) -> None:
        """Types a line and the enter key."""
        self._tmux("send-keys", "-t", name, "-l", line)
        self._tmux("send-keys", "-t", name, "Enter")

    def run(self, name: str, line: str) -> str:
        """Types a command into an empty window; returns what it shows when the command ends."""
        self.type(name, "clear")
        wait_until(lambda: not re.search(f"^{DONE}", self.text(name), re.MULTILINE), 20)
        self.type(name, f"{line}; echo '{DONE}'")
        return self.wait(name, f"(?m)^{DONE}")

    def wait(self, name: str, pattern: str) -> str:
        """Returns the window's text once it has this pattern."""
        wait_until(
            lambda: bool(re.search(pattern, self.text(name))),
            PATIENCE_SECONDS,
            lambda: self.text(name),
        )
        return self.text(name)

    def text(self, name: str) -> str:
        """What the window shows."""
        return self._tmux("capture-pane", "-p", "-t", name)

    def close(self) -> None:
        """Ends every window, and what runs in it."""
        subprocess.run(self._command("kill-server"), capture_output=True, check=False)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            self._command(*words),
            env=dict(self._who.environment),
            cwd=self._who.clone,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def _command(self, *words: str) -> list[str]:
        return [*self._who.rights, "tmux", "-S", str(self._socket), "-f", "/dev/null", *words]
