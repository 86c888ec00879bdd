"""Pipedrive: API v2 for records and field definitions, v1 for users, who have no v2."""
