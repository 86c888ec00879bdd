"""Dagster's assets, jobs, sensors and the run resource.

Dagster is imported here, and by the commands that start a run once they need it (`cli/`).

Belongs here: translation between Dagster's words and ours. Does not belong here: logic; an asset's
body calls `sync/` and yields its results.
"""
