"""Talks to CRMs over HTTP: pages of records, single records, what is written, webhooks.

Belongs here: the connector interface, the HTTP and OAuth clients, one package per system. Does not
belong here: databases, dlt, Dagster.
"""
