"""The Connect app: tenants connect their CRM, map fields, ask for syncs and follow them, over HTTP.

| package | content |
|---|---|
| `auth` | keys, permissions, browser sessions, rate limits: who may do what, how often |
| `consent` | OAuth: one-time links, the way to the source and back, confirmation, company change |
| `api` | the JSON API: routes, models, envelope, idempotency |
| `pages` | HTML pages: routes, templates, static files |
| `hooks` | requests that a source sends to us |

`app.py` builds the app from them, `serving.py` runs it. The other modules serve several packages;
`event_writer.py` and `received_events.py` store and count what `hooks` receives.

Belongs here: everything between a browser or a program and our tables. Does not belong here:
stored tokens (`vault/`), running a sync (a request is stored as a row; `defs/` reads it).
"""
