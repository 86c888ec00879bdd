"""One run of one tenant: its locks, its history row, its reads and builds, and requests for it.

Belongs here: the course of a run and the rows that describe it. Does not belong here: when a run is
due (`schedule/`), how much it may spend (`budget/`), single records that are read again
(`signals/`), Dagster (`defs/`).
"""
