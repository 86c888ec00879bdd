"""Lists of the CRM API: filters, orders, cursors, searches, linked records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import psycopg
import pytest

from pipedrive_pipeline.connect.api.crm import lists, schemas
from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.auth.rate_limits import Quota
from pipedrive_pipeline.marts.declared import DEALS
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.cursors import Cursor
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.tenants import client_with

ACME = Tenant("acme")
API = "/api/crm/v1"
FILL = """
insert into crm.users (tenant_id, system, remote_id, name)
select 'acme', 'pipedrive', n::text, 'User ' || n from generate_series(1, 2) as n;
insert into crm.customers (tenant_id, system, remote_id, name, website)
select tenant, 'pipedrive', n::text, 'Bäckerei Müller ' || n, 'www.mueller-' || n || '.de'
from unnest(array['acme', 'bravo']) as tenant, generate_series(1, 3) as n;
insert into crm.contacts (
    tenant_id, system, remote_id, name, email, emails, phone, phones, customer_id,
    customer_remote_id
)
select
    'acme', 'pipedrive', n::text, 'Hans-Peter O''Neil ' || n, 'hans' || n || '@firma-x.de',
    jsonb_build_array(jsonb_build_object('value', 'privat' || n || '@web.example')),
    '+49 (30) 123456' || n, '[{"value": "0171-9876543"}]', customers.id, customers.remote_id
from generate_series(1, 3) as n
inner join crm.customers on customers.tenant_id = 'acme' and customers.remote_id = n::text;
insert into crm.pipelines (tenant_id, system, remote_id, name)
values ('acme', 'pipedrive', '1', 'Sales');
insert into crm.stages (
    tenant_id, system, remote_id, name, sort, pipeline_id, pipeline_remote_id
)
select 'acme', 'pipedrive', n::text, 'Stage ' || n, 3 - n, pipelines.id, '1'
from generate_series(1, 2) as n cross join crm.pipelines;
insert into crm.deals (
    tenant_id, system, remote_id, name, status, amount, owner_id, owner_remote_id, customer_id,
    customer_remote_id, stage_id, stage_remote_id, changed_at, updated_at
)
select
    'acme', 'pipedrive', n::text, 'Deal ' || n, case when n %% 2 = 0 then 'won' else 'open' end,
    case when n <= 8 then n * 100 end, users.id, users.remote_id, customers.id,
    customers.remote_id, stages.id, stages.remote_id, '2026-01-01', '2026-01-01T00:00:00Z'
from generate_series(1, 10) as n
inner join crm.users on users.remote_id = (1 + n %% 2)::text
inner join crm.customers
    on customers.tenant_id = 'acme' and customers.remote_id = (1 + n %% 3)::text
inner join crm.stages on stages.remote_id = (1 + n %% 2)::text
"""


@pytest.fixture
def reader(site: ConnectSite) -> httpx.Client:
    """A client with a key of the role user, for a tenant with ten deals."""
    for statement in FILL.replace("%%", "%").split(";\n"):
        site.world.execute(statement)
    with site.world.vault.warehouse.as_app(ACME) as connection:
        key = keys.add(connection, ACME, Role.USER, "our app", who="a test")
    return client_with(site, key.text)


def listed(reader: httpx.Client, path: str, **query: Any) -> list[dict[str, Any]]:
    """Every object of a list, page after page."""
    objects, cursor = [], None
    while True:
        page = reader.get(f"{API}/{path}", params=query | ({"cursor": cursor} if cursor else {}))
        assert page.status_code == 200, page.text
        objects += page.json()["data"]
        cursor = page.json()["meta"]["pagination"]["next_cursor"]
        if cursor is None:
            return objects


def remote_ids(objects: list[dict[str, Any]]) -> list[int]:
    return [int(each["remote_id"]) for each in objects]


def test_a_cursor_survives_inserts_and_edits(reader: httpx.Client, site: ConnectSite) -> None:
    """Each record that was there at first comes exactly once, whatever happens in between."""
    first = reader.get(f"{API}/deals", params={"limit": 3}).json()
    site.world.execute(
        "update crm.deals set name = 'Edited', updated_at = now(), amount = amount + 1"
    )
    site.world.execute(
        "insert into crm.deals (tenant_id, system, remote_id, name)"
        " select 'acme', 'pipedrive', (100 + n)::text, 'New' from generate_series(1, 20) as n"
    )

    cursor = first["meta"]["pagination"]["next_cursor"]
    rest = listed(reader, "deals", limit=3, cursor=cursor)

    seen = [*remote_ids(first["data"]), *remote_ids(rest)]
    assert sorted(number for number in seen if number <= 10) == list(range(1, 11))
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("limit", [1, 3, 200])
def test_a_list_is_sorted_and_records_without_a_value_are_last_downwards(
    reader: httpx.Client, limit: int
) -> None:
    downwards = remote_ids(listed(reader, "deals", sort="-value", limit=limit))
    upwards = remote_ids(listed(reader, "deals", sort="value", limit=limit))

    assert downwards[:8] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert upwards == downwards[::-1]


def test_a_cursor_of_another_order_list_or_hand_is_refused(reader: httpx.Client) -> None:
    cursor = reader.get(f"{API}/deals", params={"limit": 3}).json()["meta"]["pagination"]
    given = cursor["next_cursor"]

    for path, query in (
        ("deals", {"cursor": given, "sort": "-value"}),
        ("persons", {"cursor": given}),
        ("deals", {"cursor": given[:-1]}),
        ("deals", {"cursor": "x"}),
    ):
        answer = reader.get(f"{API}/{path}", params=query)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_input")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "won"}, {2, 4, 6, 8, 10}),
        ({"owner_id": "pipedrive:1"}, {2, 4, 6, 8, 10}),
        ({"owner_id": "pipedrive:77"}, set()),
        ({"org_id": "pipedrive:2"}, {1, 4, 7, 10}),
        ({"stage_id": "pipedrive:2", "value_min": "300"}, {3, 5, 7}),
        ({"value_min": "200", "value_max": "400.00"}, {2, 3, 4}),
        ({"updated_since": "2026-01-01T01:00:00+01:00"}, set(range(1, 11))),
        ({"updated_since": "2026-01-01T00:00:01Z"}, set()),
        ({"search": "deal 1"}, {1}),  # a single character is a whole word
        ({"search": "dea"}, set(range(1, 11))),
        ({"owner_id": "pipedrive:1", "sort": "-value"}, {2, 4, 6, 8, 10}),
        ({"search": "DEAL 3", "status": "open", "sort": "-value"}, {3}),
    ],
)
def test_filters_hold_together(
    reader: httpx.Client, query: dict[str, str], expected: set[int]
) -> None:
    assert set(remote_ids(listed(reader, "deals", **query))) == expected


def test_a_link_to_a_record_that_was_never_read_is_found_by_its_id_in_the_system(
    reader: httpx.Client, site: ConnectSite
) -> None:
    site.world.execute(
        "update crm.deals set owner_id = null, owner_remote_id = '99' where remote_id = '7'"
    )

    (deal,) = listed(reader, "deals", owner_id="pipedrive:99")

    assert (deal["remote_id"], deal["owner_id"]) == ("7", "pipedrive:99")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("hans", [1, 2, 3]),
        ("neil", [1, 2, 3]),
        ("HANS 2", [2]),
        ("hans2@firma-x.de", [2]),
        ("privat2@web", [2]),
        ("privat2@web.example", [2]),
        ("+49 30 1234562", [2]),
        ("030 123456 2", [2]),
        ("1234562", [2]),
        ("0171 9876543", [1, 2, 3]),
        ("peter nobody", []),
    ],
)
def test_a_person_is_found_by_name_address_and_number(
    reader: httpx.Client, words: str, expected: list[int]
) -> None:
    found = remote_ids(listed(reader, "persons", search=words))

    assert sorted(found) == expected


def test_a_search_reads_one_tenant(reader: httpx.Client) -> None:
    """The words of all tenants are in one index."""
    assert len(listed(reader, "organizations", search="müller")) == 3
    assert remote_ids(listed(reader, "organizations", search="mueller-2.de")) == [2]
    assert listed(reader, "organizations", search="bravo") == []


def test_linked_records_come_along(reader: httpx.Client) -> None:
    deals = listed(reader, "deals", include="org,owner,person")

    assert all(deal["org"]["id"] == deal["org_id"] for deal in deals)
    assert {deal["owner"]["name"] for deal in deals} == {"User 1", "User 2"}
    assert all(deal["person"] is None for deal in deals)


@dataclass
class CountingWarehouse:
    """Counts the statements of the connections that it opens."""

    warehouse: Warehouse
    statements: list[str] = field(default_factory=list)

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """As the warehouse's own."""
        counted = self.statements

        class Counting(Cursor[Any]):
            def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
                counted.append(str(query))
                return super().execute(query, params, **more)

        with self.warehouse.connect() as connection:
            connection.cursor_factory = Counting
            yield connection


@pytest.mark.usefixtures("reader")
def test_a_page_with_linked_records_takes_as_many_statements_as_one_record(
    site: ConnectSite,
) -> None:
    """One query for each kind of record, not one for each record."""
    services = site.app.state.services
    caller = Caller("a test", ACME, Role.USER, "x", Quota(1, 1, 1))
    query = schemas.query_model(DEALS)
    links = schemas.included(DEALS, "org,owner,stage")

    counts = []
    for limit in (1, 10):
        counting = CountingWarehouse(site.world.vault.warehouse)
        asked = dict(query(limit=limit))
        page = lists.page_of(replace(services, warehouse=counting), caller, DEALS, asked, links)
        assert len(page.objects) == limit
        counts.append(len(counting.statements))

    assert counts[0] == counts[1]


def test_stages_are_listed_under_their_pipeline(reader: httpx.Client) -> None:
    stages = listed(reader, "pipelines/pipedrive:1/stages", sort="order")

    assert [stage["name"] for stage in stages] == ["Stage 2", "Stage 1"]
    assert reader.get(f"{API}/pipelines/pipedrive:9/stages").status_code == 404


def test_deleted_records_are_a_list_of_their_own(reader: httpx.Client, site: ConnectSite) -> None:
    site.world.execute(
        "update crm.deals set deleted_at = now(), deletion_reason = 'merged',"
        " merged_into_remote_id = '4' where remote_id = '3'"
    )

    (deal,) = listed(reader, "deals", deleted="true")

    assert (deal["deletion_reason"], deal["merged_into_id"]) == ("merged", "pipedrive:4")
    assert 3 not in remote_ids(listed(reader, "deals"))


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"limit": "201"}, "limit"),
        ({"sort": "probability"}, "sort"),
        ({"include": "org,nobody"}, "include"),
        ({"value_min": "nan"}, "value_min"),
        ({"updated_since": "2026-01-01"}, "updated_since"),
        ({"updated_since": "0001-01-01T00:00:00+10:00"}, "updated_since"),
        ({"search": "- -"}, "search"),
        ({"search": "a\x00b"}, "search"),
        ({"no_filter": "1"}, "no_filter"),
    ],
)
def test_a_query_that_does_not_fit_is_refused_by_name(
    reader: httpx.Client, query: dict[str, str], name: str
) -> None:
    answer = reader.get(f"{API}/deals", params=query)

    assert answer.status_code == 422
    assert {detail["field"].split(".")[1] for detail in answer.json()["error"]["details"]} == {name}


def test_an_offset_that_postgres_refuses_is_understood(reader: httpx.Client) -> None:
    """It knows offsets of less than 16 hours."""
    every = listed(reader, "deals")

    assert listed(reader, "deals", updated_since="2000-01-01T00:00:00-22:12") == every


def test_requests_to_the_crm_api_have_a_limit_of_their_own(
    reader: httpx.Client, site: ConnectSite
) -> None:
    site.limit_requests(600, of_crm=2)

    answers = [reader.get(f"{API}/deals") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers[:2]] == ["1", "0"]
    assert 60 < int(answers[2].headers["retry-after"]) <= 600
    assert reader.get("/api/integrations").status_code == 200
