"""One tenant in one system, and every name that is made from the two: schemas, dlt names, locks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipedrive_pipeline.errors import BadSlug
from pipedrive_pipeline.tenants import Tenant

SYSTEM_CHARACTERS_MAX = 22  # "staging_", it, "_" and a slug: at most 63
# Words joined by "_". `connectors/registry.py` refuses `zoho` next to `zoho_crm`: `raw_zoho_crm_x`
# would be both the schema of crm_x in `zoho` and that of x in `zoho_crm`.
# The name of a pipeline begins with the key, that of a schema with `raw` or `staging`.
SYSTEM_PATTERN = re.compile(
    rf"(?=.{{1,{SYSTEM_CHARACTERS_MAX}}}$)(?!(raw|staging)(_|$))[a-z][a-z0-9]*(_[a-z0-9]+)*"
)


def are_alike(system: str, other: str) -> bool:
    """True if one key and ``_`` begin the other, so that names made from them could collide."""
    return system.startswith(f"{other}_") or other.startswith(f"{system}_")


@dataclass(frozen=True, order=True)
class Scope:
    """What a run, a connection and a raw schema belong to.

    Raises:
        BadSlug: the system's key is malformed or longer than 22 characters.
    """

    tenant: Tenant
    system: str

    def __post_init__(self) -> None:
        if not SYSTEM_PATTERN.fullmatch(self.system):
            raise BadSlug(
                f"{self.system[:64]!r} is no key of a system: use at most {SYSTEM_CHARACTERS_MAX} "
                "lower-case letters and digits in words joined by _ (for example `zoho_crm`); the "
                "first word is not `raw` or `staging`."
            )

    def __str__(self) -> str:
        return f"{self.tenant}/{self.system}"

    @property
    def raw_schema(self) -> str:
        """The schema that holds the tenant's records as the system sent them."""
        return f"raw_{self.pipeline_name}"

    @property
    def staging_schema(self) -> str:
        """The schema in which dlt stages the loads; never shared (dlt issue 4297)."""
        return f"staging_{self.pipeline_name}"

    @property
    def pipeline_name(self) -> str:
        """The name of the dlt pipeline; its state is stored under it."""
        return f"{self.system}_{self.tenant.slug}"

    @property
    def raw_lock(self) -> str:
        """The lock on what is stored of the system, owned by the run that reads it."""
        return f"raw/{self.tenant.slug}/{self.system}"

    @property
    def write_lock(self) -> str:
        """The lock of the process that writes to the system."""
        return f"write/{self.tenant.slug}/{self.system}"

    @property
    def token_lock(self) -> str:
        """The lock of the process that refreshes the token."""
        return f"token/{self.tenant.slug}/{self.system}"

    def scratch_directory(self, home: Path, database: str) -> Path:
        """The folder under ``PIPELINE_HOME`` in which runs of this scope work on a database."""
        return home / "scratch" / database / self.system / self.tenant.slug
