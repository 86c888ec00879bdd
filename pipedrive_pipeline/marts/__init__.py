"""Builds a tenant's marts from raw in one transaction: select, compare, upsert, audit, commit.

Belongs here: the rows that a build reads, writes and refuses (`build.py`), custom fields
(`fields/`), phone numbers and e-mail addresses to look up (`contact_points/`), a tenant's field
mapping (`mapping/`), the analysts' views (`views/`), tables of a tenant's own app (`sinks/`). Does
not belong here: the select that computes a mart row (`sql/marts`), loading raw (`ingest/`), when a
build runs (`sync/`).
"""

from __future__ import annotations

from pipedrive_pipeline.marts.build import MartsBuilt, RowCounts, build, is_build_due
from pipedrive_pipeline.marts.row_comparison import RowComparison
from pipedrive_pipeline.marts.views.publication import publish_due, publish_or_defer, publish_views

__all__ = [
    "MartsBuilt",
    "RowComparison",
    "RowCounts",
    "build",
    "is_build_due",
    "publish_due",
    "publish_or_defer",
    "publish_views",
]
