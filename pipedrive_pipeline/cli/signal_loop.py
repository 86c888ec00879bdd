"""`serve-signals`: reads changed records again, settles writes, and delivers events to apps.

`up` and a service manager start it.
"""

from __future__ import annotations

import logging
import signal
import threading

from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.warehouse.database import warehouse_of
from pipedrive_pipeline.warehouse.migrations import require_current


def serve_signals() -> None:
    """Read records again that a webhook names, as soon as it does."""
    from pipedrive_pipeline.connect.api.crm.event_data import event_data
    from pipedrive_pipeline.sync.events.delivering import deliver_until
    from pipedrive_pipeline.sync.signals.loop import serve_until
    from pipedrive_pipeline.sync.writes.background import settle_until

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    settings = load_settings()
    warehouse = warehouse_of(settings)
    require_current(warehouse)
    others = [
        threading.Thread(target=settle_until, args=(stop, warehouse, settings)),
        threading.Thread(target=deliver_until, args=(stop, warehouse, settings, event_data)),
    ]
    for thread in others:
        thread.start()
    try:
        serve_until(stop, warehouse, settings)
    finally:
        stop.set()
        for thread in others:
            thread.join()
