"""Access to Postgres: connections and roles, migrations, the files of `sql/`, the embedded server.

Belongs here: everything that any package needs of Postgres. Does not belong here: the meaning of
a row (`ingest/`, `marts/` and `vault/` know it), or HTTP.
"""
