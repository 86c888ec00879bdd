"""A process of its own that lends or rotates, for tests of several at once and of sudden death.

Each number that it receives has an answer. `callers` lets so many threads lend at once and answers
what each got. `lend` and `rotate` fork a child that does it and is killed at its statement or call
of that number, and answer whether it died.

A child dies by SIGKILL from within a profile hook: nothing of ours is patched.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import PurePath
from types import FrameType

from pipedrive_pipeline.connectors.contract import Credential
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.vault.lending import lend
from pipedrive_pipeline.vault.rotation import rotate_keys
from pipedrive_pipeline.vault.vault import Vault, open_vault

POINTS = {
    ("connection.py", "execute"),
    ("connection.py", "commit"),
    ("cursor.py", "execute"),
    ("transaction.py", "__enter__"),
    ("transaction.py", "__exit__"),
    ("transport.py", "exchange"),
}
NAMES = {name for _, name in POINTS}


def callers(vault: Vault, count: int) -> list[str]:
    """What callers of one moment got: a digest of the token, or an error's code."""
    gate = threading.Barrier(count)

    def called(_: int) -> str:
        gate.wait()
        try:
            credential = one(vault)
        except PipelineError as error:
            return f"error: {error.code}"
        return hashlib.sha256(credential.secret.get_secret_value().encode()).hexdigest()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(called, range(count)))


def one(vault: Vault) -> Credential:
    """Acme's credential."""
    return lend("acme", "pipedrive", warehouse=vault.warehouse, settings=vault.settings)


def killed(act: Callable[[], object], at: int) -> bool:
    """Whether a child that does ``act`` came to its point number ``at``, and died there."""
    child = os.fork()
    if child == 0:
        _die_at(at)
        act()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _die_at(at: int) -> None:
    """Before and after each statement, commit and call: one point each."""
    passed = 0

    def hook(frame: FrameType, event: str, _: object) -> None:
        nonlocal passed
        code = frame.f_code
        # Most calls are told apart by their name, before a path is looked at.
        if code.co_name not in NAMES or event not in {"call", "return"}:
            return
        if (PurePath(code.co_filename).name, code.co_name) in POINTS:
            passed += 1
            if passed == at:
                os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(hook)
    sys.setprofile(hook)


def serve(action: str, settings: Settings, asked: Connection) -> None:
    """Answers numbers until the other end is closed."""
    vault = open_vault(settings=settings)
    acts: dict[str, Callable[[int], object]] = {
        "callers": lambda count: callers(vault, count),
        "lend": lambda at: killed(lambda: one(vault), at),
        "rotate": lambda at: killed(lambda: rotate_keys(vault), at),
    }
    with suppress(EOFError):
        while True:
            asked.send(acts[action](asked.recv()))
