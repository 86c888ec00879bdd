"""HTML pages from templates. Jinja escapes every value, since names come from strangers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipedrive_pipeline.connect.api.models import Connection
from pipedrive_pipeline.connect.api.sync_models import Run, Status
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.sync.tenancy.registry import RegisteredTenant
from pipedrive_pipeline.vault.pending import PendingGrant

READING_TYPES = frozenset({"full", "incremental"})  # the button would only join such a run
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


def _duration(run: Run) -> str:
    if run.started_at is None or run.completed_at is None:
        return "–"
    seconds = (run.completed_at - run.started_at).total_seconds()
    minutes = int(seconds // 60)
    return f"{minutes} min {seconds - 60 * minutes:.0f} s" if minutes else f"{seconds:.1f} s"


def _state(connection: Connection) -> str:
    """Returns the state in words; a tenant that never connected is not called disconnected."""
    if connection.state == "disconnected" and connection.connected_at is None:
        return "not connected"
    return connection.state.replace("_", " ")


def _without_commands(text: str) -> str:
    """Returns a message without the sentences that name a command: a browser has no shell."""
    kept = [sentence for sentence in _SENTENCE.split(text) if "`" not in sentence]
    return " ".join(kept) or text.partition(":")[0]


_SENTENCE = re.compile(r"(?<=[.;]) ")
_templates.filters.update(
    state=_state,
    without_commands=_without_commands,
    minute=_minute,
    moment=_moment,
    duration=_duration,
    number=lambda number: f"{number:,}".replace(",", "\u202f"),
)


def confirmation(request: Request, grant: PendingGrant, form_token: str) -> HTMLResponse:
    """The company's name with a button, or that it is connected."""
    template = "connected.html" if grant.is_confirmed else "confirm.html"
    return _page(
        request,
        template,
        label=registry.system(grant.scope.system).label,
        grant=grant,
        form_token=form_token,
    )


def login(request: Request, *, is_refused: bool) -> HTMLResponse:
    """The form to sign in with a key."""
    status = 401 if is_refused else 200
    return _page(request, "login.html", status_code=status, is_refused=is_refused)


def home(
    request: Request, caller: Caller, shown: Sequence[Connection], form_token: str
) -> HTMLResponse:
    """A tenant's systems."""
    return _page(
        request,
        "home.html",
        caller=caller,
        connections=[(row, address(row.system, caller)) for row in shown],
        form_token=form_token,
    )


def tenants(
    request: Request, registered: Sequence[RegisteredTenant], form_token: str
) -> HTMLResponse:
    """Every tenant, for the operator."""
    return _page(
        request,
        "tenants.html",
        caller=None,
        tenants=registered,
        systems=registry.systems(),
        form_token=form_token,
    )


def integration(
    request: Request, caller: Caller, status: Status, runs: Sequence[Run], form_token: str
) -> HTMLResponse:
    """The status and history of one system."""
    return _page(
        request,
        "integration.html",
        caller=caller,
        status=status,
        runs=runs,
        form_token=form_token,
        may_sync=caller.may(Permission.ASK_SYNC)
        and status.state == "connected"
        and not any(run.sync_type in READING_TYPES for run in status.current),
        may_connect=caller.may(Permission.MANAGE_CONNECTION),
        connect_address=_with_tenant(f"/integrations/{status.system}/connect", caller),
    )


def api(request: Request, description: Mapping[str, Any]) -> HTMLResponse:
    """Every route of the API with its description."""
    routes = [
        (method.upper(), path, route)
        for path, methods in description["paths"].items()
        for method, route in methods.items()
    ]
    return _page(request, "api.html", description=description["info"], routes=routes)


def address(system: str, caller: Caller) -> str:
    """The address of one system's page; the operator's contains the tenant."""
    return _with_tenant(f"/integrations/{system}", caller)


def _with_tenant(path: str, caller: Caller) -> str:
    return f"{path}?tenant={caller.tenant}" if caller.is_operator else path


def message(
    request: Request, title: str, text: str, *, status: int = 200, is_trouble: bool = False
) -> HTMLResponse:
    """A page with a title and a text."""
    return _page(
        request, "message.html", status_code=status, title=title, text=text, is_trouble=is_trouble
    )


def _page(
    request: Request, template: str, *, status_code: int = 200, **values: object
) -> HTMLResponse:
    content = _templates.get_template(template).render(
        request_id=request.state.request_id, **values
    )
    return HTMLResponse(content, status_code=status_code)
