"""The default status of the schedule and the sensors, from the setting `SCHEDULES`."""

from __future__ import annotations

import dagster as dg

from pipedrive_pipeline.settings import load_settings


def schedule_status() -> dg.DefaultScheduleStatus:
    """Returns running, unless `SCHEDULES` is off, as in a demo on a laptop."""
    return dg.DefaultScheduleStatus.RUNNING if _is_on() else dg.DefaultScheduleStatus.STOPPED


def sensor_status() -> dg.DefaultSensorStatus:
    """Returns running, unless `SCHEDULES` is off, as in a demo on a laptop."""
    return dg.DefaultSensorStatus.RUNNING if _is_on() else dg.DefaultSensorStatus.STOPPED


def _is_on() -> bool:
    return load_settings().schedules == "on"
