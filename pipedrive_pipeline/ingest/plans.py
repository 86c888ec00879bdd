"""A read of everything that may take several runs: how far it is, and whether it may go on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from pipedrive_pipeline.connectors.contract import Resume

GOES_ON_WITHIN = timedelta(days=1)  # of its last run; a backfill may take several days' budgets
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class ReadPlan:
    """One unfinished read of everything, of one entity."""

    began_at: datetime  # when its first run began, by our clock: later deletions may be missed
    last_run_at: datetime  # by our clock; only its age matters
    resume: Resume
    rows: int  # read so far, in all its runs

    def may_go_on(self, now: datetime) -> bool:
        """True if it is young enough to be continued, and says where."""
        is_young = timedelta(0) <= now - self.last_run_at < GOES_ON_WITHIN
        return is_young and bool(self.resume.windows)

    def as_state(self) -> dict[str, Any]:
        """As JSON, for dlt's state."""
        return {
            "began_at": self.began_at.isoformat(),
            "last_run_at": self.last_run_at.isoformat(),
            "resume": asdict(self.resume),
            "rows": self.rows,
        }

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> ReadPlan:
        """From dlt's state; a plan of another release becomes one that may not go on."""
        try:
            return msgspec.convert(state, cls)
        except msgspec.ValidationError:
            return cls(LONG_AGO, LONG_AGO, Resume((), {}), 0)
