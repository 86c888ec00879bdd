"""The integration routes, `/api/v1/integrations/crm`: an app's own records kept in step with a CRM.

Belongs here: what one request may hold (a customer with its contact, a lead, an appointment), how
its records are found and linked, and with whose credentials they are written. Does not belong here:
how a record is written (`connect/api/crm/writing.py`, `sync/writes/`), or what a system can do: an
operation is supported where the system declares the writes of its marts.
"""
