"""A look-alike of Pipedrive, written from its documentation alone.

Belongs here: one make-believe company, the routes, limits and errors of Pipedrive. Does not belong
here: what every look-alike needs (``sandbox.kit``), and anything of ``connectors``.
"""
