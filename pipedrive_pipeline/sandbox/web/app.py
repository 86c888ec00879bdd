"""The ASGI application: the API, the sandbox's own page and the control routes."""

from __future__ import annotations

import functools

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from pipedrive_pipeline.sandbox.running import Sandbox
from pipedrive_pipeline.sandbox.web import control
from pipedrive_pipeline.sandbox.web.line import Connections, Line
from pipedrive_pipeline.sandbox.web.pages import account_page


def create_app(sandbox: Sandbox, connections: Connections | None = None) -> Starlette:
    """The application of one sandbox."""
    routes = [Route("/", functools.partial(_page, sandbox)), Route("/favicon.ico", _no_icon)]
    if sandbox.options.has_control:
        routes += control.routes(sandbox)
    app = Starlette(routes=routes)
    # A mount would leave out paths with a line break in them.
    app.router.default = Line(sandbox.service, connections or Connections())
    return app


async def _no_icon(_: Request) -> Response:
    return Response(status_code=204)


async def _page(sandbox: Sandbox, request: Request) -> Response:
    return HTMLResponse(account_page(sandbox, dict(request.query_params)))
