"""A run as people read it: its state as a shape and a word, and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pipedrive_pipeline.connect.api.sync_models import Run

# State of a run: the shape of `ui.state`. The word is the text `run.state.<state>`.
SHAPES: Final = {
    "queued": "wait",
    "running": "run",
    "complete": "ok",
    "refused": "warn",
    "incomplete": "warn",
    "decide": "warn",
    "partial": "warn",
    "failed": "bad",
    "paused": "pause",
    "cancelled": "off",
}
GUARD: Final = "guard_tripped"


@dataclass(frozen=True)
class RunView:
    """One run and what a person sees of it."""

    run: Run

    @property
    def state(self) -> str:
        """The state, a key of `SHAPES`."""
        run = self.run
        if run.status in {"partial", "failed"}:
            is_guard = any(error.code == GUARD for error in run.errors)
            return "decide" if is_guard else run.status
        if run.status != "success":
            return run.status
        if any(entity.status == "skipped" for entity in run.entities.values()):
            return "incomplete"
        return "refused" if self.refused else "complete"

    @property
    def shape(self) -> str:
        """The shape of the state."""
        return SHAPES[self.state]

    @property
    def fetched(self) -> int:
        """Records that the source sent."""
        if self.run.progress:
            return sum(entity.rows for entity in self.run.progress.entities.values())
        return sum(entity.fetched for entity in self.run.entities.values())

    @property
    def refused(self) -> int:
        """Values and records that did not fit."""
        return sum(entity.rejected for entity in self.run.entities.values())

    @property
    def changed(self) -> int:
        """Rows of our tables that were written."""
        marts = self.run.marts.values()
        return sum(mart.created + mart.updated + mart.deleted for mart in marts)

    @property
    def tokens(self) -> int:
        """Tokens spent, so far if it runs."""
        return self.run.progress.tokens if self.run.progress else self.run.tokens_spent

    @property
    def seconds(self) -> float | None:
        """How long it took; None if it has not ended."""
        if self.run.started_at is None or self.run.completed_at is None:
            return None
        return (self.run.completed_at - self.run.started_at).total_seconds()
