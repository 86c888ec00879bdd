"""The due times of each tenant's syncs, sweeps and verifications, and the tenants that are overdue.

Belongs here: deciding that a run is due. Does not belong here: starting it (`defs/`).
"""
