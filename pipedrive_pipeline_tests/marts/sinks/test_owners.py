"""An app whose tables belong to a login of its own: its owner grants what a sink needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from pipedrive_pipeline.marts import sinks
from pipedrive_pipeline.sync.tenancy import removal
from pipedrive_pipeline.warehouse.migrations import migrate
from pipedrive_pipeline_tests.marts.sinks.app_schema import CUSTOMERS, SCHEMA, SCOPE, App
from pipedrive_pipeline_tests.warehouse import databases
from pipedrive_pipeline_tests.warehouse.databases import ACME, as_role

pytestmark = pytest.mark.slow

OURS, SHOP = "test_ours", "test_shop"
DOCUMENT = {"customers": CUSTOMERS}


@dataclass
class Place:
    """A database in which `OURS` has the warehouse and `SHOP` the app's tables."""

    url: str
    app: App

    def run(self, statements: Sequence[str], role: str | None = None) -> None:
        """Runs statements as an administrator, or as one of the roles."""
        with psycopg.connect(self.url) as connection:
            if role:
                connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
            for statement in statements:
                connection.execute(statement.encode())

    def refusal(self) -> sinks.SinkRightsMissing:
        """Why the sink cannot be saved."""
        with pytest.raises(sinks.SinkRightsMissing) as refused:
            self.app.save()
        return refused.value


@pytest.fixture
def place(postgres: str) -> Iterator[Place]:
    for role, right in ((OURS, "login createrole"), (SHOP, "nologin")):
        databases.administer(postgres, sql.SQL(f"create role {role} {right}"))
    with databases.database(postgres, owner=OURS) as url:
        place = Place(url, App(as_role(url, OURS)))
        migrate(place.app.warehouse)
        place.app.execute("insert into integration.tenants (slug) values ('acme')")
        place.run([f"grant create on database {urlsplit(url).path[1:]} to {SHOP}"])
        place.run([SCHEMA], SHOP)
        yield place
    databases.administer(postgres, sql.SQL(f"drop owned by {OURS}, {SHOP}"))
    databases.administer(postgres, sql.SQL(f"drop role {OURS}, {SHOP}"))


def test_the_owner_grants_what_the_message_says_and_the_same_save_works(place: Place) -> None:
    """The role was made in the transaction that was rolled back, and had a new name each time."""
    place.app.crm(name="A", city="Ulm")
    with pytest.raises(sinks.SinkRightsMissing) as shown:
        sinks.preview(place.app.warehouse, SCOPE, DOCUMENT)
    refused = place.refusal()
    before = place.app.states()

    place.run(refused.statements, SHOP)
    place.app.save()
    fed = place.app.feed()["customers"]

    assert str(shown.value) == str(refused)
    assert before == {}
    assert (fed.fault, fed.counts["created"]) == (None, 1)


def test_a_login_that_may_make_no_role_has_it_made_by_an_administrator(place: Place) -> None:
    """First the role, then its rights; each message names the same role."""
    place.run([f"alter role {OURS} nocreaterole"])

    place.run(place.refusal().statements)
    place.run(place.refusal().statements, SHOP)
    place.app.save()

    assert place.app.role().startswith("sink_")


def test_what_the_owner_granted_keeps_neither_sink_nor_tenant(place: Place) -> None:
    """A right can be taken back by whoever gave it only; the role stays, and has no functions."""
    place.run(place.refusal().statements, SHOP)
    place.app.crm(name="A")
    place.app.save()
    place.app.feed()
    role = place.app.role()

    place.app.save({})
    place.app.save()
    removal.remove(place.app.warehouse, ACME, is_erasing=True, who="a test")

    left = "select count(*) from pg_proc where pronamespace = 'pipeline_sinks'::regnamespace"
    login = f"select rolcanlogin from pg_roles where rolname = '{role}'"
    assert databases.row(place.url, left) == (0,)
    assert databases.row(place.url, "select count(*) from app.customers") == (1,)
    assert databases.row(place.url, login) == (False,)
