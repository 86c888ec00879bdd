"""Syncs in processes of their own, so that they may be killed or stopped.

Belongs here: starting one, from a server process that has imported everything once, and the signal
that it gives itself (`points.py`). Does not belong here: what it sends to Postgres
(`postgres_proxy.py`).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
from pydantic import SecretStr

from pipedrive_pipeline.errors import PipelineError, Superseded
from pipedrive_pipeline.ingest.reading import CHUNK_ROWS
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.runs.history import SyncType
from pipedrive_pipeline.sync.signals.refresh import serve_waiting
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests import forked
from pipedrive_pipeline_tests.scenarios import points
from pipedrive_pipeline_tests.scenarios.points import Point
from pipedrive_pipeline_tests.scenarios.world import SYSTEM, World

PATIENCE_SECONDS = 100
# Exit codes of tests; commands answer with 1.
SUPERSEDED = 91
UNEXPECTED = 92  # an error that has no name of ours


def start_sync(
    world: World,
    tenant: Tenant,
    *,
    sync_type: SyncType = "incremental",
    url: str | None = None,
    at: Point | None = None,
    counts_file: Path | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> ForkServerProcess:
    """A sync of this world in a process of its own, begun.

    Args:
        world: whose settings it uses.
        tenant: whose rows it syncs.
        sync_type: everything, or what changed.
        url: another way to the world's database.
        at: where it signals itself; None lets it live.
        counts_file: where it leaves how many points it passed, by kind.
        chunk_rows: how many rows are one load.
    """
    return _started(
        world,
        _sync,
        url=url,
        slug=tenant.slug,
        sync_type=sync_type,
        at=at,
        counts_file=counts_file,
        chunk_rows=chunk_rows,
    )


def start_serving(
    world: World, tenant: Tenant, *, url: str | None = None, at: Point | None = None
) -> ForkServerProcess:
    """A refresh of all signalled records in a process of its own, begun; see `start_sync`."""
    return _started(world, _serve, url=url, slug=tenant.slug, at=at)


def _started(
    world: World, act: Callable[..., None], *, url: str | None, **arguments: Any
) -> ForkServerProcess:
    keys = [key.get_secret_value() for key in world.settings.encryption_keys()]
    process = forked.context().Process(
        target=act,
        kwargs={
            "url": url or world.warehouse.url,
            "home": str(world.settings.pipeline_home),
            "keys": keys,
            **arguments,
        },
    )
    process.start()
    return process


def kill(process: ForkServerProcess) -> None:
    """SIGKILL, if it still runs."""
    assert process.pid is not None
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def is_stopped(process: ForkServerProcess) -> bool:
    """True once the process has stopped itself; false if it ended instead."""
    assert process.pid is not None
    while process.exitcode is None:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(process.pid).status() == psutil.STATUS_STOPPED:
                return True
        process.join(0.01)
    return False


def wake(process: ForkServerProcess) -> int:
    """The exit code of a stopped process that goes on."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
    return ended(process)


def ended(process: ForkServerProcess) -> int:
    """The exit code; a negative one is the signal that ended it."""
    process.join(PATIENCE_SECONDS)
    assert process.exitcode is not None, "the sync hangs"
    return process.exitcode


def _sync(
    *,
    url: str,
    home: str,
    keys: list[str],
    slug: str,
    sync_type: SyncType,
    at: Point | None,
    counts_file: Path | None,
    chunk_rows: int,
) -> None:
    passed = points.watch(at)
    world = _world(url, home, keys)
    try:
        with _named_exits():
            world.sync(Tenant(slug), sync_type, chunk_rows=chunk_rows)
    finally:
        if counts_file is not None:
            counts_file.write_text(json.dumps(passed))


def _serve(*, url: str, home: str, keys: list[str], slug: str, at: Point | None) -> None:
    points.watch(at)
    world = _world(url, home, keys)
    with _named_exits():
        serve_waiting(world.warehouse, world.settings, Scope(Tenant(slug), SYSTEM))


def _world(url: str, home: str, keys: list[str]) -> World:
    settings = Settings(
        database_url=SecretStr(url),
        pipeline_home=Path(home),
        token_encryption_keys=tuple(SecretStr(key) for key in keys),
    ).with_system(SYSTEM, allowed_hosts=("127.0.0.1",))
    return World(Warehouse(url), settings)


@contextmanager
def _named_exits() -> Iterator[None]:
    """Ends the process with the exit code of an error."""
    try:
        yield
    except Superseded:
        sys.exit(SUPERSEDED)
    except PipelineError as error:
        sys.exit(int(error.exit_code))
    except Exception:  # noqa: BLE001 - the exit code says it
        traceback.print_exc()
        sys.exit(UNEXPECTED)
