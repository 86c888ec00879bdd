"""The views in `analytics_<tenant>` that analysts read.

Belongs here: when the views are published, the DDL of one view, and the roles that may read them.
Does not belong here: the fixed columns (`sql/views`), the columns of custom fields
(`marts/fields/`).
"""
