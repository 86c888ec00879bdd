"""The Dagster code location: loads `defs/`, nothing else."""

from __future__ import annotations

from pipedrive_pipeline.defs.location import LOCATION as defs  # noqa: N811 - the name that Dagster looks for

__all__ = ["defs"]
