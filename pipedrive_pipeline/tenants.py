"""A tenant, and the names that are made from its slug alone; `scope` has those of a system, too."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipedrive_pipeline.errors import BadSlug
from pipedrive_pipeline.settings import SANDBOX_TENANT

SLUG_PATTERN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
RESERVED_SLUGS = frozenset({"all"})  # the role of `analyst_all` reads every tenant's views
SLUG_MAX_CHARACTERS = 32  # "analytics_", "staging_pipedrive_" and a slug stay below Postgres's 63


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

    @property
    def analytics_schema(self) -> str:
        """The schema with the views that an analyst reads."""
        return f"analytics_{self.slug}"

    @property
    def analyst_role(self) -> str:
        """The kind of role that reads this tenant's views, for `integration.role_name`."""
        return f"analyst_{self.slug}"

    @property
    def marts_lock(self) -> str:
        """The lock on marts and views, owned by the run that builds them."""
        return f"marts/{self.slug}"

    @property
    def mapping_lock(self) -> str:
        """The lock of the process that saves a field mapping."""
        return f"mapping/{self.slug}"

    @property
    def settings_lock(self) -> str:
        """The lock of the process that saves sync settings."""
        return f"settings/{self.slug}"
