"""Reads from CRMs over HTTP and yields pages of records.

Belongs here: the connector interface, the HTTP and OAuth clients, one package per system. Does not
belong here: databases, dlt, Dagster.
"""
