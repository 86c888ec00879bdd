"""Dagster's assets, jobs, sensors and the run resource. The only package that imports Dagster.

Belongs here: translation between Dagster's words and ours. Does not belong here: logic; an asset's
body calls `sync/` and yields its results.
"""
