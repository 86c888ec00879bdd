"""The Connect app on its port, in one process or in several.

Source: https://www.uvicorn.org/settings/.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI

from pipedrive_pipeline.connect.app import create_app
from pipedrive_pipeline.connect.http_protocol import LimitedHttp
from pipedrive_pipeline.connect.middleware import HEAD_MAX_BYTES
from pipedrive_pipeline.settings import Settings, load_settings
from pipedrive_pipeline.vault.rotation import check_keys
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse.migrations import require_current

KEEP_ALIVE_SECONDS = 5
STOP_SECONDS = 12  # a token refresh in progress locks its row for at most 10 s
HEALTH_CHECK_SECONDS = 30  # of a worker; uvicorn's 5 would end one on a busy machine


def serve(settings: Settings) -> None:
    """Serves with `CONNECT_WORKERS` processes until SIGINT or SIGTERM.

    Raises:
        SchemaBehind, WrongKey: before the port is opened.
    """
    vault = open_vault(settings=settings)
    require_current(vault.warehouse)
    check_keys(vault)
    if settings.connect_workers == 1:
        uvicorn.Server(config(create_app(settings, vault), settings)).run()
        return
    uvicorn.run(
        f"{__name__}:worker_app",
        factory=True,
        workers=settings.connect_workers,
        **options(settings),
    )


def worker_app() -> FastAPI:
    """The app of one of several processes, which stops when the first process has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_stop_after, args=[parent], daemon=True).start()
    return create_app(load_settings())


def _stop_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def config(
    app: FastAPI, settings: Settings, *, http: type[LimitedHttp] = LimitedHttp
) -> uvicorn.Config:
    """Uvicorn's configuration of one process; ``http`` may have other limits of time."""
    return uvicorn.Config(app, **{**options(settings), "http": http})


def options(settings: Settings) -> dict[str, Any]:
    """Uvicorn's options: limits, no access log, and the proxies whose headers count."""
    return {
        "host": str(settings.listen_address),
        "port": settings.connect_port,
        # Its lines contain whole addresses, and a callback's address contains a code.
        "access_log": False,
        "log_level": "warning",
        "server_header": False,
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": list(settings.trusted_proxies),
        "http": LimitedHttp,
        "h11_max_incomplete_event_size": HEAD_MAX_BYTES,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": STOP_SECONDS,
        "timeout_worker_healthcheck": HEALTH_CHECK_SECONDS,
    }
