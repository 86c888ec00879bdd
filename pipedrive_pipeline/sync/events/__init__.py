"""Tells an app of changed records: its webhooks, the queue of their deliveries, and the sender.

Belongs here: which webhooks a tenant has (`webhooks.py`), whether an address may be used
(`addresses.py`), signatures, the queue in Postgres, one attempt (`sending.py`), and the loop that
makes them (`delivering.py`). Does not belong here: which rows changed (`marts/events.py`), how a
record looks (`connect/api/crm`), events that a CRM sends us (`sync/webhooks`).
"""
