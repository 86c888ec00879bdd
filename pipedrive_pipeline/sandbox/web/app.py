"""The ASGI application: the API line, and beside it the sandbox's own pages and controls.

What belongs here: which path goes where. What does not: anything that Pipedrive answers itself.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Mount

from .line import Connections, Line
from .service import Service


def create_app(service: Service, connections: Connections | None = None) -> Starlette:
    """The application of one sandbox."""
    return Starlette(routes=[Mount("/", Line(service, connections or Connections()))])
