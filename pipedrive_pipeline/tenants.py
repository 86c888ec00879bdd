"""A tenant, and every name that is made from its slug: schemas, roles, dlt names, locks.

All derived names are made here, so that one property test can show that no two tenants share any.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipedrive_pipeline.errors import BadSlug
from pipedrive_pipeline.settings import SANDBOX_TENANT

SLUG_PATTERN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
RESERVED_SLUGS = frozenset({"all"})  # the role `analyst_all` reads every tenant's views
SLUG_MAX_CHARACTERS = 32  # "analytics_", "staging_pipedrive_" and a slug stay below Postgres's 63
# One word: `raw_zoho_crm_x` would else be both crm_x's of `zoho` and x's of `zoho_crm`.
SYSTEM_PATTERN = re.compile(r"[a-z][a-z0-9]{0,21}")  # "staging_", it and a slug: at most 63


@dataclass(frozen=True, order=True)
class Tenant:
    """One company whose CRM is synced; ``slug`` is its partition key everywhere.

    Raises:
        BadSlug: the slug has other characters than lower-case words joined by single underscores,
            or more than 32 of them.
    """

    slug: str

    def __post_init__(self) -> None:
        if self.slug in RESERVED_SLUGS:
            raise BadSlug(f"{self.slug!r} is reserved; choose another tenant name.")
        if len(self.slug) > SLUG_MAX_CHARACTERS or not SLUG_PATTERN.fullmatch(self.slug):
            raise BadSlug(
                f"{self.slug[:64]!r} is no tenant name: use lower-case letters and digits, words "
                f"joined by one underscore, starting with a letter, at most {SLUG_MAX_CHARACTERS} "
                "characters (for example `acme` or `acme_gmbh`)."
            )

    def __str__(self) -> str:
        return self.slug

    @property
    def is_make_believe(self) -> bool:
        """True for the tenant that this installation's sandbox fills, which is no real company."""
        return self.slug == SANDBOX_TENANT

    def raw_schema(self, system: str) -> str:
        """The schema that holds this tenant's records as the system sent them."""
        return f"raw_{self._of(system)}"

    def staging_schema(self, system: str) -> str:
        """The schema in which dlt stages this tenant's loads; never shared (dlt issue 4297)."""
        return f"staging_{self._of(system)}"

    def pipeline_name(self, system: str) -> str:
        """The name that dlt knows tenant's pipeline by; its state is stored under it."""
        return self._of(system)

    def scratch_directory(self, home: Path, database: str, system: str) -> Path:
        """The folder under ``PIPELINE_HOME`` in which runs of this tenant work on a database."""
        return home / "scratch" / database / system / self.slug

    @property
    def analytics_schema(self) -> str:
        """The schema with the views that an analyst reads."""
        return f"analytics_{self.slug}"

    @property
    def analyst_role(self) -> str:
        """The read-only role that sees this tenant's views and nothing else."""
        return f"analyst_{self.slug}"

    def raw_lock(self, system: str) -> str:
        """The lock on what is stored of one system, owned by the run that reads it."""
        return f"raw/{self.slug}/{system}"

    @property
    def marts_lock(self) -> str:
        """The lock on marts and views, owned by the run that builds them."""
        return f"marts/{self.slug}"

    def token_lock(self, system: str) -> str:
        """The lock of the process that refreshes this tenant's token."""
        return f"token/{self.slug}/{system}"

    @property
    def mapping_lock(self) -> str:
        """The lock of the process that saves a field mapping."""
        return f"mapping/{self.slug}"

    @property
    def settings_lock(self) -> str:
        """The lock of the process that saves sync settings."""
        return f"settings/{self.slug}"

    def _of(self, system: str) -> str:
        if not SYSTEM_PATTERN.fullmatch(system):
            raise BadSlug(
                f"{system[:64]!r} is no name of a system: use one word of at most 22 lower-case "
                "letters and digits, starting with a letter (for example `zohocrm`)."
            )
        return f"{system}_{self.slug}"
