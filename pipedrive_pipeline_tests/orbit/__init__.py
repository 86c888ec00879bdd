"""Orbit, a made-up CRM: its connector, its marts and its look-alike, built as a real one would be.

It differs from Pipedrive wherever the interface lets systems differ: PKCE, the client's secret in
the body, scopes that are asked for, opaque tokens that expire, deletions in pages, text ids, a list
that belongs to parents, an entity that a plan may lack, an entity with a name that Pipedrive has
too. Nothing in the package knows it: `SYSTEM_MODULES` names `orbit.connector`, and that is all.
"""
