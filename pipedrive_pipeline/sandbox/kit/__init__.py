"""The parts of a look-alike that are the same for every system.

Belongs here: serving, faults of transmission, limits, the clock, the log of requests and of edits,
OAuth, delivery of webhooks, control routes, the file that keeps the state. Does not belong here:
any word of one system, its routes, its records, the form of its answers and events. A look-alike is
a package next to this one: it derives from `Service` and `RunningSandbox` and imports this package,
never the reverse.
"""
