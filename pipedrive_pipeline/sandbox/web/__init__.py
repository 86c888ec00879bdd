"""The HTTP interface of one sandbox company: OAuth, API v2 and v1, limits, faults, control.

Belongs here: how requests are admitted, answered, priced and made to fail. Does not belong here:
the company's data (``sandbox.world``).
"""
