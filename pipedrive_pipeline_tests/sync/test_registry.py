"""Which tenants there are."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.errors import BadInput, UnknownTenant
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.tenancy import registry
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.sync.conftest import ACME, BETA, SYSTEM, ControlTables

BERLIN = Settings(default_time_zone="Europe/Berlin")
NEW = Tenant("neu")


def test_a_new_tenant_takes_the_default_time_zone(control: ControlTables) -> None:
    assert registry.add(control.warehouse, BERLIN, NEW, external_id="42", display_name="Neu GmbH")

    tenant = registry.known(control.warehouse, NEW)
    assert (tenant.external_id, tenant.display_name, tenant.time_zone, tenant.connections) == (
        "42",
        "Neu GmbH",
        "Europe/Berlin",
        {},
    )


def test_adding_a_known_tenant_again_changes_nothing(control: ControlTables) -> None:
    assert not registry.add(control.warehouse, BERLIN, ACME)

    assert registry.known(control.warehouse, ACME).time_zone == "UTC"
    added = control.rows("select * from integration.audit_log where tenant_id = 'acme'")
    assert len(added) == 1


def test_an_external_id_belongs_to_one_tenant(control: ControlTables) -> None:
    registry.add(control.warehouse, BERLIN, NEW, external_id="42")

    with pytest.raises(BadInput, match="neu"):
        registry.add(control.warehouse, BERLIN, Tenant("anders"), external_id="42")


def test_tenants_are_listed_by_slug_with_their_connection(control: ControlTables) -> None:
    registry.add(control.warehouse, BERLIN, Tenant("aaa"))

    listed = registry.all_tenants(control.warehouse)

    assert [(row.tenant.slug, row.connections) for row in listed] == [
        ("aaa", {}),
        (ACME.slug, {SYSTEM: "connected"}),
        (BETA.slug, {SYSTEM: "connected"}),
    ]


def test_an_unknown_tenant_is_named(control: ControlTables) -> None:
    with pytest.raises(UnknownTenant, match="tenants add neu"):
        registry.known(control.warehouse, NEW)


def test_a_change_leaves_what_is_not_named(control: ControlTables) -> None:
    """Without it an external id that was forgotten could only come with a new tenant."""
    registry.add(control.warehouse, BERLIN, NEW, display_name="Neu GmbH", country="DE")

    changed = registry.change(
        control.warehouse, NEW, {"external_id": "42", "country": None}, who="a test"
    )

    tenant = registry.known(control.warehouse, NEW)
    assert changed == ("external_id",)
    assert (tenant.external_id, tenant.display_name, tenant.country) == ("42", "Neu GmbH", "DE")


@pytest.mark.parametrize("country", ["Germany", "de", "XX", ""])
def test_a_country_is_a_code_whose_numbers_are_known(control: ControlTables, country: str) -> None:
    with pytest.raises(BadInput, match="ISO 3166"):
        registry.change(control.warehouse, ACME, {"country": country}, who="a test")
