"""The HTTP face of one make-believe company: OAuth, API v2 and v1, limits, faults, control.

What belongs here: how requests are admitted, answered, priced and spoiled. What does not: what is
true of the company (``sandbox.world``).
"""
