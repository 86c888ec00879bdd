"""Pages for people: what they see on the way through a consent, and when it ends badly.

Belongs here: choosing a template and its words. Does not belong here: anything that changes
something. Names come from a stranger's account: Jinja escapes them, and no script may run.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipedrive_pipeline.connectors import registry
from pipedrive_pipeline.vault.pending import Pending

FOLDER = Path(__file__).parent
_templates = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
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
