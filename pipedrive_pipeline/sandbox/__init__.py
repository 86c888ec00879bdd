"""Local servers that behave like the systems we read, including their errors and limits.

They are written from the documentation of each API alone and import nothing of ``connectors``, so
that a misreading of ours cannot agree with itself. ``docs/sandbox.md`` lists the facts that they
reproduce.

Belongs here: ``kit``, which knows no system, and a package for each system with its own look-alike.
Does not belong here: a client of those systems. Only ``cli`` and tests import this package.
"""

from pipedrive_pipeline.sandbox.kit.clock import ServerClock
from pipedrive_pipeline.sandbox.kit.state import kept_in
from pipedrive_pipeline.sandbox.pipedrive.options import SYSTEM, Options
from pipedrive_pipeline.sandbox.pipedrive.running import Sandbox
from pipedrive_pipeline.sandbox.pipedrive.service import PipedriveService
from pipedrive_pipeline.sandbox.pipedrive.serving import serve
from pipedrive_pipeline.sandbox.pipedrive.world.account import CrmAccount
from pipedrive_pipeline.sandbox.pipedrive.world.awkward import awkward_id
from pipedrive_pipeline.sandbox.pipedrive.world.reading import truth
from pipedrive_pipeline.sandbox.pipedrive.world.seeding import seeded

__all__ = [
    "SYSTEM",
    "CrmAccount",
    "Options",
    "PipedriveService",
    "Sandbox",
    "ServerClock",
    "awkward_id",
    "kept_in",
    "seeded",
    "serve",
    "truth",
]
