"""OAuth consent, from a one-time link to a confirmed connection.

Belongs here: links, states, the exchange of the code, the confirmation, the change to another
company. Does not belong here: stored tokens (`vault/`) and the HTML itself (`pages`).
"""
