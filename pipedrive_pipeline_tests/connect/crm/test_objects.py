"""Objects of the CRM API: ids, names and units, custom fields by readable name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from pipedrive_pipeline.connect.api.crm import ids
from pipedrive_pipeline.connect.api.crm.ids import RemoteId, RowId
from pipedrive_pipeline.connect.api.crm.objects import fields_of, resource_of
from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.errors import NotFound
from pipedrive_pipeline.marts.declared import DEALS, MARTS, Mart
from pipedrive_pipeline.sandbox import Sandbox, seeded, serve
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.tenants import client_with
from pipedrive_pipeline_tests.scenarios.world import ACME, World

API = "/api/crm/v1"
SHOWN = [declared for declared in MARTS if declared.api]
FILL = """
insert into crm.users (tenant_id, system, remote_id, name) values ('acme', 'pipedrive', '7', 'Ada');
insert into crm.customers (
    tenant_id, system, remote_id, name, street, city, postal_code, owner_id, owner_remote_id
)
select 'acme', 'pipedrive', '1', 'Firma', 'Weg 1', 'Berlin', '10115', users.id, '7' from crm.users;
insert into crm.contacts (tenant_id, system, remote_id, name, emails)
values (
    'acme', 'pipedrive', '2', 'Bob',
    '[{"value": "bob@firma.de", "primary": true, "label": "work"}, {"value": "b@x.de"}]'
);
insert into crm.deals (
    tenant_id, system, remote_id, name, amount, probability, customer_id, customer_remote_id,
    owner_remote_id, attributes
)
select
    'acme', 'pipedrive', '3', 'Big', 12.50, 25, customers.id, '1', '99',
    '{"region": "north"}'
from crm.customers;
insert into crm.deal_products (
    tenant_id, system, remote_id, name, quantity, discount, discount_type, total
)
values
    ('acme', 'pipedrive', '4', 'Bolt', 2, 10, 'percent', 18),
    ('acme', 'pipedrive', '5', 'Nut', 2, 10, 'amount', 10);
insert into crm.activities (
    tenant_id, system, remote_id, kind, subject, due_date, starts_at, duration, done
)
values (
    'acme', 'pipedrive', '6', 'call', 'Ring', '2026-03-01', '2026-03-01T14:05:00Z', '45 min', false
);
insert into crm.customers (tenant_id, system, remote_id, name, deleted_at, deletion_reason)
values ('acme', 'pipedrive', '8', 'Gone', '2026-03-02', 'deleted')
"""


@pytest.fixture
def reader(site: ConnectSite) -> httpx.Client:
    """A client with a key of the role user, for a tenant with a few rows."""
    for statement in FILL.split(";\n"):
        site.world.execute(statement)
    with site.world.vault.warehouse.as_app(ACME) as connection:
        key = keys.add(connection, ACME, Role.USER, "our app", who="a test")
    return client_with(site, key.text)


def read(reader: httpx.Client, path: str) -> dict[str, Any]:
    answer = reader.get(f"{API}/{path}")
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def test_a_deal_has_the_names_and_units_of_a_crm(reader: httpx.Client) -> None:
    deal = read(reader, "deals/pipedrive:3")

    assert (deal["title"], deal["value"], deal["probability"]) == ("Big", 12.5, 0.25)
    assert deal["custom_fields"] == {"region": "north"}
    assert deal["org_id"] == read(reader, "organizations/pipedrive:1")["id"]
    assert deal["owner_id"] == "pipedrive:99"  # a user who was never read
    assert deal["person_id"] is None
    assert deal == read(reader, f"deals/{deal['id']}")


def test_an_address_is_a_text_next_to_its_parts(reader: httpx.Client) -> None:
    organization = read(reader, "organizations/pipedrive:1")

    assert organization["address"] == "Weg 1, 10115, Berlin"
    assert organization["address_parts"]["city"] == "Berlin"
    assert organization["owner_id"] == read(reader, "users/pipedrive:7")["id"]


def test_emails_are_texts_next_to_their_entries(reader: httpx.Client) -> None:
    person = read(reader, "persons/pipedrive:2")

    assert person["emails"] == ["bob@firma.de", "b@x.de"]
    assert person["email_entries"][0] == {"value": "bob@firma.de", "primary": True, "label": "work"}


def test_a_discount_is_a_fraction_or_an_amount(reader: httpx.Client) -> None:
    percent, amount = (read(reader, f"deal-products/pipedrive:{number}") for number in (4, 5))

    assert (percent["discount"], percent["discount_amount"]) == (0.1, None)
    assert (amount["discount"], amount["discount_amount"]) == (None, 10)


def test_an_activity_has_its_day_and_its_time(reader: httpx.Client) -> None:
    activity = read(reader, "activities/pipedrive:6")

    assert (activity["type"], activity["due_date"], activity["due_time"], activity["duration"]) == (
        "call",
        "2026-03-01",
        "14:05",
        "00:45",
    )


def test_a_deleted_record_is_read_on_request_with_its_reason(reader: httpx.Client) -> None:
    refused = reader.get(f"{API}/organizations/pipedrive:8")
    organization = read(reader, "organizations/pipedrive:8?deleted=true")

    assert refused.status_code == 404
    assert "deleted=true" in refused.json()["error"]["message"]
    assert organization["deletion_reason"] == "deleted"


@pytest.mark.parametrize("text", ["deal_12", "org_" + "0" * 32, "hubspot:1", "pipedrive:", "3"])
def test_an_id_of_another_form_is_not_found(reader: httpx.Client, text: str) -> None:
    answer = reader.get(f"{API}/deals/{text}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_an_id_is_read_as_it_is_shown() -> None:
    resource, row_id = resource_of(DEALS), UUID(int=2**127 + 1)

    assert ids.parsed(ids.shown(resource, row_id), resource) == RowId(row_id)
    assert ids.parsed("pipedrive:a:b", resource) == RemoteId("pipedrive", "a:b")
    with pytest.raises(NotFound, match="deal_"):
        ids.parsed("pipedrive:\x00", resource)


@pytest.mark.parametrize("declared", SHOWN, ids=lambda declared: declared.name)
def test_no_two_fields_of_an_object_share_a_name(declared: Mart) -> None:
    names = [each.name for each in fields_of(declared)]

    assert len(set(names)) == len(names)
    assert "custom_fields" not in names


def test_no_two_resources_share_a_path_or_the_start_of_their_ids() -> None:
    resources = [resource_of(declared) for declared in SHOWN]

    assert len({each.path for each in resources}) == len(resources)
    assert len({each.id_prefix for each in resources}) == len(resources)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with serve(seeded(5, 5)) as running:
        yield running


@pytest.mark.slow
def test_custom_fields_have_the_names_and_values_of_the_views(
    site: ConnectSite, sandbox: Sandbox, tmp_path: Path
) -> None:
    """An analyst and an app must not get two answers to one question."""
    vault = site.world.vault
    world = World(vault.warehouse, vault.settings.model_copy(update={"pipeline_home": tmp_path}))
    world.connect(ACME, sandbox)
    world.sync(sync_type="full")
    with vault.warehouse.as_app(ACME) as connection:
        key = keys.add(connection, ACME, Role.USER, "our app", who="a test")
    reader = client_with(site, key.text)
    names = site.world.rows(
        "select column_name as name from integration.view_columns where mart = 'customers'"
    )
    view = f"{ACME.analytics_schema}.customers"

    rows = site.world.rows(f"select to_jsonb(shown) as row from {view} as shown")

    assert len(rows) == 5
    for row in (each["row"] for each in rows):
        shown = {each["name"]: row[each["name"]] for each in names}
        organization = read(reader, f"organizations/pipedrive:{row['remote_id']}")
        assert organization["custom_fields"] == {
            name: value for name, value in shown.items() if value is not None
        }
        assert any(organization["custom_fields"].values())
    for schema in (Scope(ACME, "pipedrive").staging_schema, ACME.analytics_schema):
        site.world.execute(f"drop schema if exists {schema} cascade")
