"""What a person reads when the server cannot start: the culprit and the next step."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipedrive_pipeline.errors import Permanent, PipelineError
from pipedrive_pipeline.warehouse.embedded import (
    HomeUnusable,
    PortTaken,
    ServerDiskFull,
    StartFailed,
)
from pipedrive_pipeline.warehouse.embedded.errors import failed_start, named_for
from pipedrive_pipeline_tests.warehouse.embedded.conftest import Start

STAMP = "2026-11-20 15:58:17.318 UTC [8197] "
NO_ROOM = f'{STAMP}FATAL:  could not write lock file "postmaster.pid": No space left on device\n'
PRIVILEGED = (
    f'{STAMP}LOG:  could not bind IPv4 address "127.0.0.1": Permission denied\n'
    f"{STAMP}FATAL:  could not create any TCP/IP sockets\n"
)
OTHER_MAJOR = f"{STAMP}FATAL:  database files are incompatible with server\n"


@pytest.mark.parametrize(
    ("output", "error", "words"),
    [
        (NO_ROOM, ServerDiskFull, "Make room"),
        (PRIVILEGED, PortTaken, "Permission denied. Free it"),
        (OTHER_MAJOR, StartFailed, "FATAL:  database files are incompatible with server. Its log"),
        ("", StartFailed, "no word"),
    ],
)
def test_the_log_of_a_failed_start_is_read(
    folder: Path, output: str, error: type[PipelineError], words: str
) -> None:
    """Nobody should have to open the log to learn that a disk is full."""
    log = folder / "postgres.log"
    log.write_text(output)

    refusal = failed_start(log, folder, 80, logged_bytes=0)

    assert type(refusal) is error
    assert words in str(refusal)


def test_an_earlier_failure_is_not_read_again(folder: Path) -> None:
    """The log goes on from start to start."""
    log = folder / "postgres.log"
    log.write_text(NO_ROOM + OTHER_MAJOR)

    refusal = failed_start(log, folder, None, logged_bytes=len(NO_ROOM))

    assert type(refusal) is StartFailed


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, ServerDiskFull), (errno.EROFS, HomeUnusable), (errno.EACCES, HomeUnusable)],
)
def test_the_operating_system_s_refusal_names_the_path(
    folder: Path, number: int, error: type[Permanent]
) -> None:
    """A traceback names our lines; a person needs theirs."""
    with pytest.raises(error, match="PIPELINE_HOME") as refusal, named_for(folder):
        raise OSError(number, os.strerror(number), str(folder / "id"))

    assert str(folder) in str(refusal.value)


def test_a_file_in_the_way_of_the_home_is_named(folder: Path, start: Start) -> None:
    """The person can choose another folder."""
    (folder / "file").write_text("in the way")

    with pytest.raises(HomeUnusable, match="file/home"):
        start(folder / "file" / "home")


@pytest.mark.slow
def test_broken_data_are_reported_with_the_log(folder: Path, start: Start) -> None:
    """Postgres's last words and the log's path are all that a helper on the phone needs."""
    server = start(folder / "home")
    server.stop()
    version = server.data_dir / "PG_VERSION"
    version.write_text("17\n")

    with pytest.raises(StartFailed, match=r"incompatible with server.*postgres\.log"):
        start(folder / "home")

    version.write_text("18\n")
