"""Requests that a source sends to us on its own, such as the notice of an uninstalled app.

Belongs here: authentication and content of such requests. Does not belong here: their effect
(`vault/`).
"""
