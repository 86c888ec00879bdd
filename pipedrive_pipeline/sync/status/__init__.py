"""The state of tenants and of the installation for people: status, doctor, alerts.

Belongs here: reading the control tables for display, and notifying people. Does not belong here:
how it is rendered (`cli/`, `connect/`).
"""
