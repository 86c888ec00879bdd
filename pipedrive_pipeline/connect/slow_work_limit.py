"""Room for work that takes long, so that it leaves threads and connections to everything else.

A call to the CRM may take ten seconds and a preview reads thousands of rows. One process has 40
threads and 10 database connections for all requests.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from pipedrive_pipeline.connect.errors import TooMuchAtOnce
from pipedrive_pipeline.tenants import Tenant

SLOW_MAX = 6  # of one process, at once
SLOW_OF_TENANT_MAX = 2


class SlowWork:
    """Counts the slow requests that a process is answering, by tenant."""

    def __init__(self) -> None:
        self._lock, self._active = threading.Lock(), Counter[Tenant]()

    @contextmanager
    def slot(self, tenant: Tenant) -> Iterator[None]:
        """A block of slow work for this tenant; it is not entered if there is no room.

        Raises:
            TooMuchAtOnce: this tenant, or all together, already have as much as is allowed.
        """
        with self._lock:
            of_tenant = self._active[tenant]
            if of_tenant >= SLOW_OF_TENANT_MAX or self._active.total() >= SLOW_MAX:
                raise TooMuchAtOnce(is_own=of_tenant >= SLOW_OF_TENANT_MAX)
            self._active[tenant] += 1
        try:
            yield
        finally:
            with self._lock:
                self._active[tenant] -= 1
                self._active += Counter()  # drops tenants without work
