"""Every resource × every record × every actor: no tenant and no owner is crossed.

The resources come from the declared marts. Each has records of every owner and of every value of
`visible_to`, or links to such records; what an actor may see is computed here, from the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from psycopg import sql

from pipedrive_pipeline.connect.api.crm import ids
from pipedrive_pipeline.connect.api.crm.objects import resource_of
from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.marts.declared import MARTS, NOTES, Link, Mart, mart
from pipedrive_pipeline.marts.visibility import is_restricted
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.tenants import client_with

pytestmark = pytest.mark.slow
API = "/api/crm/v1"
TENANTS = (Tenant("acme"), Tenant("bravo"))
GROUP_OF = {"1": "sales", "2": "sales", "3": "service"}  # of each user of the CRM
AUDIENCES = (None, "1", "3", "5", "7", "99")
SHOWN = [declared for declared in MARTS if declared.api]


@dataclass(frozen=True)
class Planted:
    """A record: whose it is, who may see it, or the record that it is linked to."""

    mart: str
    id: UUID
    tenant: str
    owner: str | None = None
    visible_to: str | None = None
    linked: Planted | None = None

    def is_seen_by(self, tenant: str, user: str | None) -> bool:
        """Whether a key sees it; ``user`` is the one that the key is bound to."""
        if tenant != self.tenant:
            return False
        if user is None or not is_restricted(mart(self.mart)) or user == self.owner:
            return True
        if self.linked is not None:
            return self.linked.is_seen_by(tenant, user)
        is_of_group = self.owner is not None and GROUP_OF[self.owner] == GROUP_OF[user]
        return self.visible_to == "7" or (self.visible_to in {"3", "5"} and is_of_group)


@dataclass(frozen=True)
class Actor:
    """A client, for which tenant, and the user that its key is bound to."""

    client: httpx.Client
    tenant: str
    user: str | None

    def sees(self, record: Planted) -> bool:
        """Whether it may read a record."""
        return record.is_seen_by(self.tenant, self.user)


class Garden:
    """Plants the records of one tenant and remembers them by mart."""

    def __init__(self, connection: psycopg.Connection, tenant: str) -> None:
        self.connection, self.tenant = connection, tenant
        self.records: dict[str, list[Planted]] = {declared.name: [] for declared in SHOWN}
        self.users = {user: self._insert("users", role=group) for user, group in GROUP_OF.items()}
        self.records["users"] = [Planted("users", each, tenant) for each in self.users.values()]
        for declared in SHOWN[1:]:
            self._plant(declared)

    def _insert(self, name: str, **values: Any) -> UUID:
        row = {"tenant_id": self.tenant, "system": "pipedrive", **values}
        query = sql.SQL(
            "insert into crm.{table} ({columns}, remote_id)"
            " values ({values}, (select count(*) + 1 from crm.{table})::text) returning id"
        ).format(
            table=sql.Identifier(name),
            columns=sql.SQL(", ").join(map(sql.Identifier, row)),
            values=sql.SQL(", ").join(map(sql.Literal, row.values())),
        )
        inserted = self.connection.execute(query).fetchone()
        assert inserted is not None
        row_id: UUID = inserted[0]
        return row_id

    def _plant(self, declared: Mart) -> None:
        owner_link = next((row for row in declared.links if row.name == declared.owned_by), None)
        has_audience = any(column.name == "visible_to" for column in declared.columns)
        for owner in [*GROUP_OF, None] if owner_link else [None]:
            owned = _linked(owner_link, self.users[owner]) if owner_link and owner else {}
            for audience in AUDIENCES if has_audience else (None,):
                shown = {"visible_to": audience} if has_audience else {}
                self._add(declared, {**owned, **shown}, owner=owner, visible_to=audience)
        for link in declared.links:
            if link.name in declared.visible_with:
                for record in self.records[link.mart]:
                    self._add(declared, _linked(link, record.id), linked=record)

    def _add(self, declared: Mart, values: dict[str, Any], **facts: Any) -> None:
        row_id = self._insert(declared.name, **values)
        self.records[declared.name].append(Planted(declared.name, row_id, self.tenant, **facts))


def _linked(link: Link, row_id: UUID) -> dict[str, Any]:
    return {link.name: row_id, link.remote_column: "7"}


@pytest.fixture
def gardens(site: ConnectSite) -> list[Garden]:
    site.limit_requests(1_000_000)
    with site.world.vault.warehouse.transaction() as connection:
        return [Garden(connection, tenant.slug) for tenant in TENANTS]


@pytest.fixture
def actors(site: ConnectSite, gardens: list[Garden]) -> list[Actor]:
    """A key of each role, and one for each user of the CRM, of both tenants."""
    made = []
    for garden in gardens:
        tenant = Tenant(garden.tenant)
        wanted = [(role, None) for role in Role] + [(Role.USER, user) for user in garden.users]
        with site.world.vault.warehouse.as_app(tenant) as connection:
            for role, user in wanted:
                bound_to = garden.users[user] if user else None
                key = keys.add(
                    connection, tenant, role, "a key", who="a test", crm_user_id=bound_to
                )
                made.append(Actor(client_with(site, key.text), tenant.slug, user))
    return made


def listed(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    objects, cursor = [], ""
    while cursor is not None:
        page = client.get(
            f"{API}/{path}", params={"limit": 200, **({"cursor": cursor} if cursor else {})}
        )
        assert page.status_code == 200, page.text
        objects += page.json()["data"]
        cursor = page.json()["meta"]["pagination"]["next_cursor"]
    return objects


@pytest.mark.timeout(300)
def test_a_list_has_what_its_reader_may_see_and_nothing_else(
    actors: list[Actor], gardens: list[Garden]
) -> None:
    """The place of the next page must not skip what the reader may see, either."""
    for actor in actors:
        for declared in SHOWN:
            resource, every = (
                resource_of(declared),
                [record for garden in gardens for record in garden.records[declared.name]],
            )
            expected = {ids.shown(resource, each.id) for each in every if actor.sees(each)}
            assert expected

            objects = listed(actor.client, resource.path)

            assert {each["id"] for each in objects} == expected, (actor, declared.name)


@pytest.mark.timeout(300)
def test_a_record_that_may_not_be_seen_is_answered_as_one_that_is_not_there(
    actors: list[Actor], gardens: list[Garden]
) -> None:
    asked = 0
    for actor in actors:
        for declared in SHOWN:
            resource = resource_of(declared)
            path = f"{API}/{resource.path}"
            nobodys = actor.client.get(f"{path}/{ids.shown(resource, UUID(int=1))}").json()["error"]
            for record in (row for garden in gardens for row in garden.records[declared.name][::9]):
                answer = actor.client.get(f"{path}/{ids.shown(resource, record.id)}")
                asked += 1

                assert answer.status_code == (200 if actor.sees(record) else 404), (actor, record)
                if answer.status_code == 404:
                    assert answer.json()["error"] == nobodys

    assert asked > 500


def test_linked_records_that_may_not_be_seen_stay_away(
    actors: list[Actor], gardens: list[Garden], site: ConnectSite
) -> None:
    """Neither `include`, nor a list under a record, nor a search is a way around."""
    (acme, _) = gardens
    hidden = next(
        row for row in acme.records["customers"] if row.owner == "3" and row.visible_to == "1"
    )
    deal = next(row for row in acme.records["deals"] if row.visible_to == "7")
    site.world.execute("update crm.customers set name = 'Hidden' where id = %s", hidden.id)
    site.world.execute(
        "update crm.deals set customer_id = %s, customer_remote_id = '7' where id = %s",
        hidden.id,
        deal.id,
    )
    path, hidden_id = f"{API}/deals/{ids.shown(resource_of(mart('deals')), deal.id)}", ""
    for actor in (row for row in actors if row.tenant == "acme"):
        found = actor.client.get(f"{API}/organizations", params={"search": "hidden"}).json()
        shown = actor.client.get(path, params={"include": "org"}).json()["data"]
        hidden_id = shown["org_id"]
        under = actor.client.get(f"{API}/deals", params={"org_id": hidden_id}).json()["data"]

        assert [row["name"] for row in found["data"]] == ["Hidden"] * actor.sees(hidden)
        assert (shown["org"] is not None) == actor.sees(hidden)
        assert [row["id"] for row in under] == [shown["id"]]


def test_a_key_of_a_user_opens_the_crm_api_only(actors: list[Actor], site: ConnectSite) -> None:
    """Rejected values, previews and pages show values of every record."""
    bound = next(row for row in actors if row.user)
    browser = site.browser()

    answers = [
        bound.client.get(address)
        for address in ("/api/integrations", "/api/integrations/pipedrive/rejected-values")
    ]
    page = browser.post(
        "/login",
        data={"key": bound.client.headers["x-api-key"]},
        headers={"origin": site.url},
    )

    assert [row.status_code for row in answers] == [403, 403]
    assert {row.json()["error"]["code"] for row in answers} == {"key_of_crm_user"}
    assert page.status_code == 403
    assert "bound to a user" in page.text


def test_each_restricted_table_has_its_condition(site: ConnectSite) -> None:
    """A table that is made again by `isolate` alone would show everything to everybody."""
    rows = site.world.rows(
        "select tablename from pg_policies where schemaname = 'crm' and policyname = 'app'"
        " and qual like '%key_user()%'"
    )

    assert {row["tablename"] for row in rows} == {
        "contact_points",
        *(declared.name for declared in MARTS if is_restricted(declared)),
    }


def seen_by_everybody(marts: Sequence[Mart]) -> dict[str, set[str]]:
    """The marts without a rule of who sees a row, with the restricted ones that they tell about."""
    restricted = {each.name for each in marts if is_restricted(each)}
    linked = {
        each.name: {link.mart for link in each.links} & restricted
        for each in marts
        if not is_restricted(each)
    }
    return {name: others for name, others in linked.items() if others}


def test_a_mart_of_restricted_records_is_restricted_itself() -> None:
    """A new mart that says nothing is seen by everybody: it would tell of deals that are not."""
    unruled = replace(NOTES, owned_by=None, visible_with=())

    assert seen_by_everybody(MARTS) == {}, "give the mart owned_by or visible_with (declared.py)"
    assert seen_by_everybody([*(set(MARTS) - {NOTES}), unruled]) == {
        "notes": {"customers", "contacts", "deals", "leads"}
    }


def test_an_admin_binds_a_key_to_a_user_by_its_id(site: ConnectSite, gardens: list[Garden]) -> None:
    (acme, _) = gardens
    admin = site.operator()
    user = admin.get(f"{API}/users").json()["data"][0]

    made = admin.post(
        "/api/keys", json={"name": "bound", "role": "user", "crmUser": user["id"]}
    ).json()["data"]
    nobody = admin.post("/api/keys", json={"name": "x", "role": "user", "crmUser": "usr_1"})

    bound_to = next(name for name, row_id in acme.users.items() if made["crmUserId"] == str(row_id))
    actor = Actor(client_with(site, made["key"]), "acme", bound_to)
    expected = sum(actor.sees(deal) for deal in acme.records["deals"])
    assert len(listed(actor.client, "deals")) == expected
    assert (nobody.status_code, nobody.json()["error"]["code"]) == (400, "bad_input")
