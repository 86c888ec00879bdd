"""The CRM API, `/api/crm/v1`: the rows of the marts as objects with the names of a CRM.

Belongs here: ids, objects, lists, writes and their outbox, an app's webhooks, and the routes over
them. All of it is derived from the marts that declare an `ApiResource`: no module names an entity,
so a new mart with ``api=`` has routes, schemas and documents by itself. Does not belong here: how a
change reaches the CRM (`sync/writes/`), or an app (`sync/events/`).
"""
