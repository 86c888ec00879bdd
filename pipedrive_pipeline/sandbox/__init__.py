"""A local server that behaves like Pipedrive, including its errors and limits.

It is written from the API contract alone and imports nothing of ``connectors``, so that a
misreading of ours cannot agree with itself. ``docs/sandbox.md`` lists the facts that it reproduces.

Belongs here: the interface for tests and the command line. Does not belong here: a client of
Pipedrive. Only ``cli`` and tests import this package.
"""

from pipedrive_pipeline.sandbox.options import Options
from pipedrive_pipeline.sandbox.running import Sandbox
from pipedrive_pipeline.sandbox.server import serve
from pipedrive_pipeline.sandbox.state import kept_in
from pipedrive_pipeline.sandbox.web.app import create_app
from pipedrive_pipeline.sandbox.web.service import Service
from pipedrive_pipeline.sandbox.world.account import Account
from pipedrive_pipeline.sandbox.world.awkward import awkward_id
from pipedrive_pipeline.sandbox.world.clock import Clock
from pipedrive_pipeline.sandbox.world.reading import truth
from pipedrive_pipeline.sandbox.world.seeding import seeded

__all__ = [
    "Account",
    "Clock",
    "Options",
    "Sandbox",
    "Service",
    "awkward_id",
    "create_app",
    "kept_in",
    "seeded",
    "serve",
    "truth",
]
