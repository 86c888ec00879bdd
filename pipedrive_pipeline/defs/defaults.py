"""Whether the schedule and the sensors run before anybody has decided.

Belongs here: the setting `SCHEDULES` in Dagster's words. Does not belong here: what they do.
"""

from __future__ import annotations

import dagster as dg

from pipedrive_pipeline.settings import load_settings


def schedule_status() -> dg.DefaultScheduleStatus:
    """Running, unless `SCHEDULES` is off, as on a laptop's demo."""
    return dg.DefaultScheduleStatus.RUNNING if _is_on() else dg.DefaultScheduleStatus.STOPPED


def sensor_status() -> dg.DefaultSensorStatus:
    """Running, unless `SCHEDULES` is off, as on a laptop's demo."""
    return dg.DefaultSensorStatus.RUNNING if _is_on() else dg.DefaultSensorStatus.STOPPED


def _is_on() -> bool:
    return load_settings().schedules == "on"
