"""The JSON API: routes, models, envelope, pagination, idempotency.

Belongs here: the form of requests and answers. Does not belong here: queries (`sync/`, `marts/`,
`vault/`), callers and permissions (`auth`).
"""
