"""Where rows live: connections and roles, migrations, the files of `sql/`, the embedded server.

Belongs here: everything that any room needs of Postgres. Does not belong here: what a row means
(`ingest/`, `marts/`, `vault/` know), or HTTP.
"""
