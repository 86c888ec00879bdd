"""The routes of every page. A page shows what the API answers to the same key."""

from __future__ import annotations

from pipedrive_pipeline.connect.pages import (
    confirm_pages,
    connect_pages,
    history_pages,
    home,
    key_pages,
    mapping_pages,
    mapping_versions,
    problems,
    session_pages,
    settings_pages,
    sink_adoption,
    sink_editor,
    sink_pages,
    system_pages,
    webhook_pages,
)

ROUTERS = (
    session_pages.router,
    home.router,
    problems.router,
    system_pages.router,
    history_pages.router,
    connect_pages.router,
    confirm_pages.router,
    mapping_pages.router,
    mapping_versions.router,
    sink_pages.router,
    sink_editor.router,
    sink_adoption.router,
    settings_pages.router,
    key_pages.router,
    webhook_pages.router,
)
