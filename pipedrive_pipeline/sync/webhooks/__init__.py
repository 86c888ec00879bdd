"""Near real time: the life of each tenant's webhook, gaps in its events, and how it is shown.

Belongs here: `integration.webhooks`, when a webhook is made, checked and removed, and the syncs
that are requested where events may have been lost. Does not belong here: what becomes of an event
(`signals/`), how a source's webhooks are made (`connectors/`), Dagster (`defs/`).
"""
