"""What Dagster sees: assets, jobs, sensors, one run's resource. The only room that imports Dagster.

Belongs here: translation between Dagster's words and ours. Does not belong here: logic; an asset's
body calls `sync/` and yields what came of it.
"""
