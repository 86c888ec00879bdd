"""Which scopes a consent lacks: those of the entities that the tenant reads, and no others."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.vault.connection_test import missing_scopes

ALL_ON = [entity for entity in PIPEDRIVE.entities if entity.is_on_by_default]
CONTACTS = [PIPEDRIVE.by_name[name] for name in ("users", "organizations", "persons")]


@pytest.mark.parametrize(
    ("granted", "entities", "missing"),
    [
        ({"base", "contacts:read", "users:read"}, CONTACTS, ()),
        ({"base", "contacts:full", "users:read"}, CONTACTS, ()),
        ({"contacts:read", "users:read"}, CONTACTS, ("base",)),
        ({"base", "users:read", "deals:read"}, CONTACTS, ("contacts:read",)),
        (
            {"base", "contacts:read", "users:read"},
            ALL_ON,
            ("deals:read", "products:read", "activities:read", "leads:read"),
        ),
        (
            {"base", "contacts:full", "users:read", "deals:full", "products:full", "leads:full"},
            ALL_ON,
            ("activities:read",),
        ),
        (set(), ALL_ON, ()),  # a source that lists no scopes limits none
    ],
)
def test_a_scope_is_missing_only_for_what_is_read(
    granted: set[str], entities: list[object], missing: tuple[str, ...]
) -> None:
    assert missing_scopes("pipedrive", granted, entities) == missing  # type: ignore[arg-type]
