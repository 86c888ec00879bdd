"""Writes to a CRM: checked, remembered, sent once, read back into the tables.

Belongs here: what may be written, the outbox, the order of the steps, the match of an app's record
with the CRM's. Does not belong here: how a system spells a body (`connectors/<system>/writes.py`),
how the API spells a field (`connect/api/crm/`).

A write is committed to `integration.outbox` before the call and again after its answer. All writes
of a tenant and system take turns under one lock, so the owner of the lock knows that nobody is in
the middle of another one: what is not settled was left behind, and is settled first.
"""
