"""Raw row to mart row: one tenant, one transaction: select, compare, upsert, audit, commit or not.

Belongs here: which rows a build reads, what it writes, what it refuses, and the views on top.
Does not belong here: how a mart row is made of raw rows (`sql/marts`), how raw came about
(`ingest/`), when a build runs (`sync/`).
"""

from __future__ import annotations

from pipedrive_pipeline.marts.build import Counts, MartsBuilt, build
from pipedrive_pipeline.marts.row_comparison import Comparison
from pipedrive_pipeline.marts.views.publication import publish_due, publish_or_defer, publish_views

__all__ = [
    "Comparison",
    "Counts",
    "MartsBuilt",
    "build",
    "publish_due",
    "publish_or_defer",
    "publish_views",
]
