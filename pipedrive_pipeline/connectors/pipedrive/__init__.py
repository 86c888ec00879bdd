"""Pipedrive: API v2, and v1 where v2 lacks it: users, leads, webhooks, notes, changelogs."""
