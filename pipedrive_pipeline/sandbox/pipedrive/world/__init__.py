"""The state of one make-believe Pipedrive company: records, fields, users, clock, history.

What belongs here: everything that is true of the company whether or not anybody asks over HTTP.
What does not: routes (``pipedrive.routes``), tokens, limits, faults (``pipedrive.service``).
"""
