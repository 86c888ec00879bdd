"""The source's daily token budget: the limit of a run, the estimate of a full read, the usage.

Belongs here: reading and writing the rows of usage and limits. Does not belong here: HTTP rate
limits (`connectors/`).
"""
