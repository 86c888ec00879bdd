"""The Connect app on its port.

Belongs here: the server and its limits. Does not belong here: what it serves (`app.py`).
Rests on https://www.uvicorn.org/settings/.
"""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI

from pipedrive_pipeline.connect.app import create_app
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.vault.vault import check_keys, open_vault
from pipedrive_pipeline.warehouse.migrations import require_current

HOST = "127.0.0.1"  # a proxy in front speaks to the world
CONCURRENT_REQUESTS_MAX = 200
KEEP_ALIVE_SECONDS = 5
STOP_SECONDS = 12  # a refresh under way holds its row for 10 s at most


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        SchemaBehind, WrongKey: before the port is opened.
    """
    vault = open_vault(settings=settings)
    require_current(vault.warehouse)
    check_keys(vault)
    uvicorn.Server(config(create_app(settings, vault), port=settings.connect_port)).run()


def config(app: FastAPI, *, port: int) -> uvicorn.Config:
    """The server's own limits, and what it does not tell."""
    return uvicorn.Config(
        app,
        host=HOST,
        port=port,
        # Its lines hold whole addresses, and a callback's address holds a code.
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONCURRENT_REQUESTS_MAX,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
