"""A read of everything that may take several runs: how far it is, and whether it may go on.

Belongs here: the plan's few facts and their JSON. Does not belong here: storing it (`raw.py`, with
the rows that it speaks of), following it (`reading.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipedrive_pipeline.connectors.base import CursorState

GOES_ON_WITHIN = timedelta(days=1)  # of its last run; a backfill may take several days' budgets


@dataclass(frozen=True)
class Plan:
    """One unfinished read of everything, of one entity."""

    last_run_at: datetime  # by our clock; only its age matters
    resume: CursorState  # the connector's own words
    rows: int  # read so far, in all its runs

    def may_go_on(self, now: datetime) -> bool:
        """Whether it is young enough to be continued."""
        return timedelta(0) <= now - self.last_run_at < GOES_ON_WITHIN

    def as_state(self) -> dict[str, Any]:
        """As JSON, for dlt's state."""
        return {
            "last_run_at": self.last_run_at.isoformat(),
            "resume": dict(self.resume),
            "rows": self.rows,
        }

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Plan:
        """From dlt's state."""
        return cls(datetime.fromisoformat(state["last_run_at"]), state["resume"], state["rows"])
