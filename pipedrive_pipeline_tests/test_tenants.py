"""Slugs, and the names that are made from them."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipedrive_pipeline.connectors.registry import system_keys
from pipedrive_pipeline.errors import BadSlug
from pipedrive_pipeline.scope import SYSTEM_CHARACTERS_MAX, SYSTEM_PATTERN, Scope, are_alike
from pipedrive_pipeline.tenants import (
    RESERVED_SLUGS,
    SLUG_MAX_CHARACTERS,
    SLUG_PATTERN,
    Tenant,
)
from pipedrive_pipeline.warehouse import locks

POSTGRES_NAME_MAX = 63
WORDS = ("raw", "staging", "analytics", "analyst", "pipedrive", "acme", "a", "x1", "stg")
SLUGS = st.one_of(
    st.from_regex(SLUG_PATTERN, fullmatch=True),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map("_".join),  # made to collide
).filter(lambda slug: len(slug) <= SLUG_MAX_CHARACTERS and slug not in RESERVED_SLUGS)


def names(tenant: Tenant) -> list[tuple[str, str]]:
    """Every name of a tenant with the space in which it must be unique."""
    clashes: list[tuple[str, str]] = [
        ("schema", tenant.analytics_schema),
        ("role", tenant.analyst_role),
        ("lock", tenant.marts_lock),
        ("lock", tenant.mapping_lock),
        ("lock", tenant.settings_lock),
    ]
    for system in system_keys():
        clashes += [
            ("schema", Scope(tenant, system).raw_schema),
            ("schema", Scope(tenant, system).staging_schema),
            ("pipeline", Scope(tenant, system).pipeline_name),
            ("lock", Scope(tenant, system).raw_lock),
            ("lock", Scope(tenant, system).token_lock),
        ]
    return clashes


@pytest.mark.slow
@given(first=SLUGS, other=SLUGS)
def test_no_two_tenants_share_any_name(first: str, other: str) -> None:
    """A loader's own staging schema of `acme` was the dataset of a tenant `acme_staging`."""
    shared = set(names(Tenant(first))) & set(names(Tenant(other)))

    assert (first == other) or not shared


SYSTEMS_TO_COME = (
    st.lists(
        st.one_of(
            st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True),
            st.sampled_from(["zoho", "crm", "staging", "x"]),
        ),
        min_size=1,
        max_size=2,
    )
    .map("_".join)
    .filter(SYSTEM_PATTERN.fullmatch)
)


def names_of_system(tenant: Tenant, system: str) -> set[str]:
    """What is named after the tenant and a system; nothing where the system's name is refused."""
    try:
        return {
            Scope(tenant, system).raw_schema,
            Scope(tenant, system).staging_schema,
            Scope(tenant, system).pipeline_name,
        }
    except BadSlug:
        return set()


@pytest.mark.slow
@given(first=st.tuples(SLUGS, SYSTEMS_TO_COME), other=st.tuples(SLUGS, SYSTEMS_TO_COME))
@example(first=("crm_x", "zoho_one"), other=("x", "zoho_crm"))
@example(first=("raw", "a"), other=("raw", "staging_a"))
def test_no_two_tenants_share_the_name_of_a_system(
    first: tuple[str, str], other: tuple[str, str]
) -> None:
    """Of systems that the registry takes: it refuses `zoho` next to `zoho_crm`."""
    (slug, system), (other_slug, other_system) = first, other
    assume(system == other_system or not are_alike(system, other_system))

    shared = names_of_system(Tenant(slug), system) & names_of_system(
        Tenant(other_slug), other_system
    )

    assert (first == other) or not shared


@given(slug=SLUGS, system=SYSTEMS_TO_COME)
@example(slug="a" * SLUG_MAX_CHARACTERS, system="b" * SYSTEM_CHARACTERS_MAX)
def test_a_name_of_any_system_to_come_is_short_enough(slug: str, system: str) -> None:
    tenant = Tenant(slug)

    assert all(len(name) <= POSTGRES_NAME_MAX for name in names_of_system(tenant, system))
    assert len(names_of_system(tenant, system)) == 3


@pytest.mark.slow
@given(slug=SLUGS)
def test_no_name_is_too_long_or_needs_another_spelling(slug: str) -> None:
    """Postgres cuts a long name in silence; dlt rewrites one that it does not like."""
    tenant = Tenant(slug)

    texts = [name for _, name in names(tenant)]

    assert len(names(tenant)) == len(set(names(tenant)))
    assert all(len(text) <= POSTGRES_NAME_MAX for text in texts)
    assert all(re.fullmatch(r"[a-z][a-z0-9]*([_/][a-z0-9]+)*", text) for text in texts)
    assert locks.MIGRATION not in texts
    assert len(Scope(tenant, "x" * 22).token_lock) <= POSTGRES_NAME_MAX


@pytest.mark.parametrize(
    "slug",
    ["", "A", "Acme", "1a", "_a", "a_", "a__b", "a-b", "a b", "ä", "a\n", "a.b", "a;drop", "all",
     "a" * 33, "../a", "a\x00"],
)  # fmt: skip
def test_a_slug_that_no_name_could_be_made_from_is_refused(slug: str) -> None:
    with pytest.raises(BadSlug):
        Tenant(slug)
