"""From a browser to the vault: consent, its confirmation, and the web app around them.

Belongs here: OAuth as a person walks through it, the JSON routes and pages. Does not belong here:
tokens once they are stored (`vault/`), running a sync (a row is written; `defs/` reads it).
"""
