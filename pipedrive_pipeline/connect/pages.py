"""Pages for people: what they see on the way through a consent, and when it ends badly.

Belongs here: choosing a template and its words. Does not belong here: anything that changes
something. Names come from a stranger's account: Jinja escapes them, and no script may run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipedrive_pipeline.connect.callers import Caller
from pipedrive_pipeline.connect.keys import Role
from pipedrive_pipeline.connect.polled_models import Connection, Run, Status
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.sync.registry import RegisteredTenant
from pipedrive_pipeline.vault.pending import Pending

READING = frozenset({"full", "incremental"})  # what a press of the button would only join
FOLDER = Path(__file__).parent
_templates = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _minute(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}" if at else "–"


def _moment(at: datetime | None) -> str:
    return f"{_minute(at)} UTC" if at else "–"


def _lasted(run: Run) -> str:
    """How long a run took."""
    if run.started_at is None or run.completed_at is None:
        return "–"
    seconds = (run.completed_at - run.started_at).total_seconds()
    minutes = int(seconds // 60)
    return f"{minutes} min {seconds - 60 * minutes:.0f} s" if minutes else f"{seconds:.1f} s"


_templates.filters.update(
    minute=_minute,
    moment=_moment,
    lasted=_lasted,
    number=lambda number: f"{number:,}".replace(",", "\u202f"),
)


def confirmation(request: Request, waiting: Pending, form_token: str) -> HTMLResponse:
    """The company by name, and a button; or what has come of it, once confirmed."""
    template = "connected.html" if waiting.is_confirmed else "confirm.html"
    return _page(
        request,
        template,
        label=registry.connector(waiting.system).label,
        waiting=waiting,
        form_token=form_token,
    )


def login(request: Request, *, is_refused: bool) -> HTMLResponse:
    """One field for a key."""
    status = 401 if is_refused else 200
    return _page(request, "login.html", status=status, is_refused=is_refused)


def home(
    request: Request, caller: Caller, shown: Sequence[Connection], form_token: str
) -> HTMLResponse:
    """A tenant's systems."""
    return _page(
        request,
        "home.html",
        caller=caller,
        connections=[(one, address(one.system, caller)) for one in shown],
        form_token=form_token,
    )


def tenants(
    request: Request, registered: Sequence[RegisteredTenant], form_token: str
) -> HTMLResponse:
    """Every tenant, for the operator."""
    return _page(request, "tenants.html", caller=None, tenants=registered, form_token=form_token)


def integration(
    request: Request, caller: Caller, status: Status, found: Sequence[Run], form_token: str
) -> HTMLResponse:
    """How one system stands, and what happened."""
    return _page(
        request,
        "integration.html",
        caller=caller,
        standing=status,
        runs=found,
        form_token=form_token,
        may_sync=caller.role.includes(Role.MANAGER)
        and status.state == "connected"
        and not any(one.sync_type in READING for one in status.current),
        may_connect=caller.role.includes(Role.ADMIN) and not caller.is_operator,
    )


def api(request: Request, description: Mapping[str, Any]) -> HTMLResponse:
    """Every route of the API with its words."""
    routes = [
        (method.upper(), path, route)
        for path, methods in description["paths"].items()
        for method, route in methods.items()
    ]
    return _page(request, "api.html", description=description["info"], routes=routes)


def address(system: str, caller: Caller) -> str:
    """The page of one system; the operator's names the tenant."""
    path = f"/integrations/{system}"
    return f"{path}?tenant={caller.tenant}" if caller.is_operator else path


def message(
    request: Request, title: str, text: str, *, status: int = 200, is_trouble: bool = False
) -> HTMLResponse:
    """One thing to say."""
    return _page(
        request, "message.html", status=status, title=title, text=text, is_trouble=is_trouble
    )


def _page(request: Request, template: str, *, status: int = 200, **values: object) -> HTMLResponse:
    content = _templates.get_template(template).render(
        request_id=request.state.request_id, **values
    )
    return HTMLResponse(content, status_code=status)
