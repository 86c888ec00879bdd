"""Single records that are read again: signalled by webhooks, by our own writes, or by hand.

Belongs here: the table of signals (`store.py`), one turn that serves them, the loop that serves
them as they arrive, `ingest.refresh`. Does not belong here: a tenant's webhooks (`webhooks/`), a
run that reads whole lists (`runs/`).
"""
