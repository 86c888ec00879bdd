"""What the settings say of the definitions: owners, checks for each tenant, schedules that run."""

from __future__ import annotations

from functools import cache

import dagster as dg

from pipedrive_pipeline.settings import Settings, load_settings


@cache
def settings_of_definitions() -> Settings:
    """Returns the settings with which this process makes its definitions.

    They are read once: 200 assets and checks ask for them, and reading them takes a millisecond.
    """
    return load_settings()


def schedule_status() -> dg.DefaultScheduleStatus:
    """Returns running, unless `SCHEDULES` is off, as in a demo on a laptop."""
    return dg.DefaultScheduleStatus.RUNNING if _is_on() else dg.DefaultScheduleStatus.STOPPED


def sensor_status() -> dg.DefaultSensorStatus:
    """Returns running, unless `SCHEDULES` is off, as in a demo on a laptop."""
    return dg.DefaultSensorStatus.RUNNING if _is_on() else dg.DefaultSensorStatus.STOPPED


def _is_on() -> bool:
    return settings_of_definitions().schedules == "on"
