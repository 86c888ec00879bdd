"""A sandbox's state as one JSON file: edited records, fields, rights, clock and tokens.

A sandbox that is started again from the file serves the same company: records, fields, rights,
clock and grants. Its history and its journal of requests begin again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pipedrive_pipeline.sandbox.web.grants import Pair
from pipedrive_pipeline.sandbox.web.service import Service
from pipedrive_pipeline.sandbox.world.fields import Field
from pipedrive_pipeline.sandbox.world.users import Rights

Record = dict[str, Any]
SAVE_SECONDS = 1.0  # an edit that is younger may be lost with the process


@dataclass(frozen=True)
class FieldState:
    """The field definitions of one entity, with the ids that the next ones get."""

    fields: list[Field]
    dropped: list[Field]
    next_ids: tuple[int, int]


@dataclass(frozen=True)
class State:
    """The content of a sandbox's file."""

    company: tuple[int, str, str]  # id, name, domain
    clock_shift_seconds: float
    records: dict[str, list[Record]]  # those that differ from the seeded ones, by entity
    deleted_at: list[tuple[str, int, str]]
    late: list[tuple[str, int, str]]
    fields: dict[str, FieldState]
    users: list[Record]
    rights: dict[int, Rights]
    grants: list[Pair]
    api_tokens: dict[str, int]


def save(service: Service, file: Path) -> None:
    """Writes the state to a file that only its owner can read; replaces the old file atomically."""
    account = service.account
    with account.lock:
        state = State(
            company=(account.company_id, account.company_name, account.company_domain),
            clock_shift_seconds=account.clock.shift_seconds,
            records={name: records.changed() for name, records in account.records.items()},
            deleted_at=[(*place, at) for place, at in account.deleted_at.items()],
            late=[(*place, at) for place, at in account.late.items()],
            fields={
                name: FieldState([*book], [*book.dropped.values()], book.next_ids)
                for name, book in account.fields.items()
            },
            users=account.users,
            rights=account.rights,
            grants=service.grants.pairs(),
            api_tokens=service.grants.api_tokens,
        )
        text = msgspec.json.encode(state)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
        written.write(text)
    draft.replace(file)


def load(service: Service, file: Path) -> bool:
    """Brings a sandbox to the state in a file; False if there is none.

    Raises:
        ValueError: the file is damaged or of another release; it can be deleted.
    """
    if not file.exists():
        return False
    try:
        state = msgspec.json.decode(file.read_bytes(), type=State)
    except msgspec.MsgspecError:
        raise ValueError(f"{file} cannot be read; delete it to begin with a new company.") from None
    account = service.account
    with account.lock:
        account.company_id, account.company_name, account.company_domain = state.company
        account.clock.advance(state.clock_shift_seconds - account.clock.shift_seconds)
        for name, records in state.records.items():
            for record in records:
                account.records[name].put(record)
        account.deleted_at = {(name, row_id): at for name, row_id, at in state.deleted_at}
        account.late = {(name, row_id): at for name, row_id, at in state.late}
        for name, fields in state.fields.items():
            account.fields[name].restore(fields.fields, fields.dropped, fields.next_ids)
        account.users, account.rights = state.users, state.rights
        service.grants.restore(state.grants, state.api_tokens)
    return True


@contextmanager
def kept_in(service: Service, file: Path) -> Iterator[None]:
    """Begins with the state in a file, and saves every change to it until the end of the block.

    Raises:
        ValueError: as `load`.
    """
    load(service, file)
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
        now = (len(service.account.history), service.grants.pairs(), service.grants.api_tokens)
        if now != saved:
            save(service, file)
            saved = now
