"""The world in a box: a Pipedrive look-alike, as hard on its readers as the real one.

It is written from the API contract alone and imports nothing of ``connectors``, so that a
misreading of ours cannot agree with itself. ``docs/sandbox.md`` lists what it keeps.

What belongs here: the face that tests and the command line use. What does not: any reading of
Pipedrive; nothing but ``cli`` and tests imports this room.
"""

from .options import Options
from .running import Sandbox
from .server import serve
from .web.app import create_app
from .web.service import Service
from .world.account import Account
from .world.awkward import awkward_id
from .world.clock import Clock
from .world.reading import truth
from .world.seeding import seeded

__all__ = [
    "Account",
    "Clock",
    "Options",
    "Sandbox",
    "Service",
    "awkward_id",
    "create_app",
    "seeded",
    "serve",
    "truth",
]
