"""One tenant in one system, and every name that is made from the two: schemas, dlt names, locks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipedrive_pipeline.errors import BadSlug
from pipedrive_pipeline.tenants import Tenant

# One word: `raw_zoho_crm_x` would else be both crm_x's of `zoho` and x's of `zoho_crm`.
SYSTEM_PATTERN = re.compile(r"[a-z][a-z0-9]{0,21}")  # "staging_", it and a slug: at most 63


@dataclass(frozen=True, order=True)
class Scope:
    """What a run, a connection and a raw schema belong to.

    Raises:
        BadSlug: the system's key is no word of 1 to 22 lower-case letters and digits.
    """

    tenant: Tenant
    system: str

    def __post_init__(self) -> None:
        if not SYSTEM_PATTERN.fullmatch(self.system):
            raise BadSlug(
                f"{self.system[:64]!r} is no name of a system: use one word of at most 22 "
                "lower-case letters and digits, starting with a letter (for example `zohocrm`)."
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
    def token_lock(self) -> str:
        """The lock of the process that refreshes the token."""
        return f"token/{self.tenant.slug}/{self.system}"

    def scratch_directory(self, home: Path, database: str) -> Path:
        """The folder under ``PIPELINE_HOME`` in which runs of this scope work on a database."""
        return home / "scratch" / database / self.system / self.tenant.slug
