"""Processor seconds of processes, user and system: independent of other work on the machine."""

from __future__ import annotations

from contextlib import suppress

import psutil


def spent(process: psutil.Process) -> float:
    """Of a process and of its descendants, alive or waited for."""
    alive = 0.0
    for child in process.children():
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            alive += spent(child)
    times = process.cpu_times()
    return alive + float(times.user + times.system) + spent_by_ended(process)


def spent_by_ended(process: psutil.Process) -> float:
    """Of its children that have ended."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)
