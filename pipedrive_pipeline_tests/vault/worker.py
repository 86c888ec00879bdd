"""A process of its own that lends or rotates, for tests of several at once and of sudden death.

`python -m pipedrive_pipeline_tests.vault.worker callers` reads a line, lets 8 threads lend at once
and writes what each got. `… lend` and `… rotate` read a number N, fork a child that does it and is
killed at its Nth statement or call, and write whether it died. Settings come from the environment.

A child dies by SIGKILL from within a profile hook: nothing of ours is patched.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from types import FrameType

from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.vault.lending import lend
from pipedrive_pipeline.vault.rotation import rotate_keys
from pipedrive_pipeline.vault.vault import Vault, open_vault

THREADS = 8
POINTS = {
    ("connection.py", "execute"),
    ("connection.py", "commit"),
    ("cursor.py", "execute"),
    ("transaction.py", "__enter__"),
    ("transaction.py", "__exit__"),
    ("transport.py", "exchange"),
}
NAMES = {name for _, name in POINTS}


def callers(vault: Vault) -> list[str]:
    """What 8 callers of one moment got: a digest of the token, or an error's code."""
    gate = threading.Barrier(THREADS)

    def one(_: int) -> str:
        gate.wait()
        try:
            credential = lend(
                "acme", "pipedrive", warehouse=vault.warehouse, settings=vault.settings
            )
        except PipelineError as error:
            return f"error: {error.code}"
        return hashlib.sha256(credential.secret.get_secret_value().encode()).hexdigest()

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(one, range(THREADS)))


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


def main(action: str) -> None:
    """Serve lines until the input ends."""
    vault = open_vault()
    acts: dict[str, Callable[[], object]] = {
        "lend": lambda: lend(
            "acme", "pipedrive", warehouse=vault.warehouse, settings=vault.settings
        ),
        "rotate": lambda: rotate_keys(vault),
    }
    for line in sys.stdin:
        answer = callers(vault) if action == "callers" else killed(acts[action], int(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
