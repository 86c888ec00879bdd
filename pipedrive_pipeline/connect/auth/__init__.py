"""Who sends a request, for which tenant, and with which permissions.

Belongs here: API keys, roles and permissions, browser sessions, protection against cross-site
requests, rate limits. Does not belong here: what a permitted request does (`api`, `pages`).
"""
