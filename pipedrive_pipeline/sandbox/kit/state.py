"""The state of a look-alike as one JSON file, so that a restart loses nothing.

Its history of edits and its log of requests begin again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pipedrive_pipeline.sandbox.kit.service import Service

SAVE_SECONDS = 1.0  # an edit that is younger may be lost with the process


def save(service: Service, file: Path) -> None:
    """Writes the state to a file that only its owner can read; replaces the old file atomically."""
    with service.world.lock:
        text = msgspec.json.encode(service.state())
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
        written.write(text)
    draft.replace(file)


def load(service: Service, file: Path) -> bool:
    """Brings a look-alike to the state in a file; False if there is none.

    Raises:
        ValueError: the file is damaged or of another release; it can be deleted.
    """
    if not file.exists():
        return False
    try:
        state = msgspec.json.decode(file.read_bytes(), type=service.state_type)
    except msgspec.MsgspecError:
        raise ValueError(f"{file} cannot be read; delete it to begin with a new company.") from None
    with service.world.lock:
        service.restore(state)
    return True


@contextmanager
def kept_in(service: Service, file: Path) -> Iterator[None]:
    """Begins with the state in a file, and saves every change to it until the end of the block.

    Raises:
        ValueError: as `load`, or the file cannot be read or written.
    """
    try:
        load(service, file)
        save(service, file)
    except OSError as error:
        raise ValueError(f"{file} cannot hold the state ({error.strerror}).") from error
    ended = threading.Event()
    saver = threading.Thread(target=_save_changes, args=(service, file, ended), daemon=True)
    saver.start()
    try:
        yield
    finally:
        ended.set()
        saver.join()


def _save_changes(service: Service, file: Path, ended: threading.Event) -> None:
    saved: object = None
    is_last = False
    while not is_last:
        is_last = ended.wait(SAVE_SECONDS)
        now = service.version()
        if now != saved:
            save(service, file)
            saved = now
