"""Processor seconds of processes, user's and system's, for what is measured beside other work."""

from __future__ import annotations

from contextlib import suppress

import psutil


def spent(process: psutil.Process) -> float:
    """Of a process and of all that it started, alive or waited for."""
    alive = 0.0
    for one in process.children():
        with suppress(psutil.NoSuchProcess):  # it has been waited for meanwhile
            alive += spent(one)
    times = process.cpu_times()
    return alive + float(times.user + times.system) + spent_by_ended(process)


def spent_by_ended(process: psutil.Process) -> float:
    """Of all that it started and waited for."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)
