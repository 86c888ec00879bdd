"""Tenants: registration, settings, retention, erasure of persons and records, removal.

Belongs here: changes to a tenant or its stored data outside a sync's read and build. Does not
belong here: credentials (`vault/`), the tables of raw and marts (`ingest/`, `marts/`).
"""
