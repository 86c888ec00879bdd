"""Counts refused requests that may be attacks, and alerts the operator once per burst.

Counts are kept in memory and stored every few seconds, so that an attack does not become a load of
writes. Neither addresses nor keys are stored or logged.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Final

from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.status.notify import notify_operator
from pipedrive_pipeline.warehouse.database import Warehouse

STORE_SECONDS: Final = 5.0
BURST: Final = 100  # refusals of one code in an hour, after which the operator is alerted
KEPT_DAYS: Final = 30
CODES: Final = frozenset(
    {
        "not_signed_in",
        "forbidden",
        "role_too_low",
        "other_tenant",
        "state_refused",
        "link_refused",
        "webhook_refused",
        "too_many_requests",
        "too_much_at_once",
    }
)

log = logging.getLogger(__name__)


class RefusalCounter:
    """The refusals of one process since they were last stored, by code and tenant."""

    def __init__(self) -> None:
        self._lock, self._counts = threading.Lock(), Counter[tuple[str, str | None]]()

    def count(self, code: str, tenant: str | None) -> None:
        """Counts a refusal if its code may be that of an attack."""
        if code in CODES:
            with self._lock:
                self._counts[code, tenant] += 1

    def store(self, warehouse: Warehouse, settings: Settings) -> None:
        """Adds the counts to `integration.refusals`; alerts on each code that becomes a burst."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        shown = ", ".join(
            f"{code} {number}" + (f" ({tenant})" if tenant else "")
            for (code, tenant), number in counts.items()
        )
        log.warning("refused requests: %s", shown)
        bursts = []
        with warehouse.transaction() as connection:
            for (code, tenant), number in counts.items():
                row = connection.execute(_ADD, {"code": code, "tenant": tenant, "new": number})
                before, after = row.fetchone() or (0, 0)
                if before < BURST <= after:
                    bursts.append((code, after))
            connection.execute(_DELETE_OLD, {"kept_days": KEPT_DAYS})
        for code, number in bursts:
            notify_operator(
                settings,
                title=f"Connect app: {number} requests refused in this hour as {code}",
                body="Somebody may be guessing keys or trying out requests. `./run refusals` shows "
                "the counts of each hour; docs/runbook.md, refusals, what to do.",
            )


# The sum over all tenants before and after, so that a burst is noticed however it is spread. A
# tenant that was removed meanwhile counts as none.
_ADD: Final = """
with added as (
    insert into integration.refusals as stored (began_at, code, tenant_id, refusals, last_at)
    values (
        date_trunc('hour', now()),
        %(code)s,
        (select tenants.slug from integration.tenants where tenants.slug = %(tenant)s),
        %(new)s,
        now()
    )
    on conflict on constraint refusals_began_at_code_tenant_id_key do update
    set refusals = stored.refusals + excluded.refusals,
        last_at = excluded.last_at
)
select
    coalesce(sum(refusals.refusals), 0)::bigint,
    coalesce(sum(refusals.refusals), 0)::bigint + %(new)s
from integration.refusals
where refusals.began_at = date_trunc('hour', now())
    and refusals.code = %(code)s
"""
_DELETE_OLD: Final = """
delete from integration.refusals
where refusals.began_at < now() - make_interval(days => %(kept_days)s)
"""
