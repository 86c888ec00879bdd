"""The Postgres that starts by itself: Postgres 18 from a wheel, under PIPELINE_HOME.

Belongs here: where the server lives, whose account runs it, starting, finding and stopping it.
Does not belong here: what is inside the database (the rest of `warehouse/`), and settings: the
caller hands over a folder and, if wanted, a port.

Data walks `server` → `paths`, `account`, `binaries` → `cluster` → `postmaster`; the page for
people is `docs/embedded-postgres.md`.
"""

from __future__ import annotations

from pipedrive_pipeline.warehouse.embedded.errors import (
    HomeUnusable,
    NoAccount,
    PortNeedsRestart,
    PortTaken,
    ServerDiskFull,
    ServerSilent,
    StartFailed,
)
from pipedrive_pipeline.warehouse.embedded.server import (
    EmbeddedServer,
    ensure_running,
    running_server,
)

__all__ = [
    "EmbeddedServer",
    "HomeUnusable",
    "NoAccount",
    "PortNeedsRestart",
    "PortTaken",
    "ServerDiskFull",
    "ServerSilent",
    "StartFailed",
    "ensure_running",
    "running_server",
]
