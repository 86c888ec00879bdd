"""What is done for a tenant and when: runs, their schedule and budget, status, events, writes.

Belongs here: the rules between the layers that read, build and store, and their callers (`cli/`,
`connect/`, `defs/`). Does not belong here: HTTP, Dagster, the meaning of a CRM's records.
"""
