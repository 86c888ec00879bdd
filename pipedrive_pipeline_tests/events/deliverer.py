"""`python -m pipedrive_pipeline_tests.events.deliverer`: the loop as a process, to be killed."""

from __future__ import annotations

import threading

from pipedrive_pipeline.connect.api.crm.event_data import event_data
from pipedrive_pipeline.settings import load_settings
from pipedrive_pipeline.sync.events.delivering import deliver_until
from pipedrive_pipeline.warehouse.database import warehouse_of
from pipedrive_pipeline_tests.events.world import QUICK

if __name__ == "__main__":
    loaded = load_settings()
    deliver_until(threading.Event(), warehouse_of(loaded), loaded, event_data, timing=QUICK)
