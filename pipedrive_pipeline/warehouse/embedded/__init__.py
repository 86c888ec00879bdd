"""The embedded Postgres: Postgres 18 from a wheel, started on demand under PIPELINE_HOME.

Belongs here: the server's files, the account that runs it, starting, finding and stopping it.
Does not belong here: the database's content (the rest of `warehouse/`), and settings: the caller
passes a folder and, if wanted, a port.

Calls go `server` → `paths`, `os_account`, `binaries` → `cluster` → `postmaster`. The guide for
operators is `docs/embedded-postgres.md`.
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
