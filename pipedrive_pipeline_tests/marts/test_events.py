"""Which events a build records: those of rows that it changed, in its own transaction."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.rows import dict_row

from pipedrive_pipeline.connect.consent.company_change import start_afresh
from pipedrive_pipeline.errors import AuditBreach
from pipedrive_pipeline.marts import events
from pipedrive_pipeline.marts.build import _MartWork, _with_parts, build
from pipedrive_pipeline.marts.declared import MARTS
from pipedrive_pipeline.marts.parallel_queries import EVERY_ID
from pipedrive_pipeline.marts.raw import raw_transaction
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.marts.writing import Known, relink, upsert
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.raw_tables import (
    RawTables,
    deal,
    lead,
    organization,
    person,
    stamped,
)
from pipedrive_pipeline_tests.warehouse.databases import ACME

SCOPE = Scope(ACME, "pipedrive")


def subscribe(
    warehouse: Warehouse, *types: str, tenant: str = "acme", state: str = "active"
) -> UUID:
    webhook_id = uuid4()
    with warehouse.transaction() as connection:
        connection.execute(
            "insert into integration.app_webhooks"
            " (id, tenant_id, url, event_types, state, state_reason, disabled_at, secret,"
            " created_by)"
            " values (%(id)s, %(tenant)s, 'https://app.example.com', %(types)s, %(state)s,"
            " case when %(state)s = 'disabled' then 'gone' end,"
            " case when %(state)s = 'disabled' then now() end, 'x', 'a test')",
            {"id": webhook_id, "tenant": tenant, "types": list(types), "state": state},
        )
    return webhook_id


def recorded(warehouse: Warehouse) -> list[dict[str, Any]]:
    """The events with the number of their deliveries, in order; they are deleted."""
    with warehouse.transaction() as connection:
        rows = (
            connection.cursor(row_factory=dict_row)
            .execute(
                "select record_events.*, (select count(*) from integration.event_deliveries"
                " where event_deliveries.event_id = record_events.id) as deliveries"
                " from integration.record_events order by record_events.id"
            )
            .fetchall()
        )
        connection.execute("delete from integration.record_events")
    return rows


def types(warehouse: Warehouse) -> list[str]:
    return [row["type"] for row in recorded(warehouse)]


def test_every_resource_has_types_of_its_own() -> None:
    """They are derived: a new resource needs no list."""
    known = events.known_types()

    assert len(known) == len(set(known))
    assert {"deal.created", "deal.updated", "deal.won", "deal.lost", "deal.deleted"} <= set(known)
    assert {name.partition(".")[0] for name in known} == {
        declared.api.noun for declared in MARTS if declared.api
    }
    assert events.wanted_marts(["person.*", "deal.won"]) == {"contacts", "deals"}
    assert events.wanted_marts(["*"]) == {declared.name for declared in MARTS if declared.api}


def test_without_a_webhook_nothing_is_recorded(warehouse: Warehouse, raw: RawTables) -> None:
    """Another tenant's, and one that was disabled long ago, count as none."""
    subscribe(warehouse, "*", tenant="bravo")
    old = subscribe(warehouse, "*", state="disabled")
    with warehouse.transaction() as connection:
        connection.execute(
            "update integration.app_webhooks set disabled_at = now() - interval '8 days'"
            " where id = %s",
            [old],
        )
    raw.load(deals=[deal(1)])

    build(warehouse, SCOPE)

    assert recorded(warehouse) == []


@pytest.mark.slow
def test_the_life_of_a_deal(warehouse: Warehouse, raw: RawTables) -> None:
    """Each change once, with what the row was before; an outcome has a type of its own."""
    subscribe(warehouse, "deal.*")
    lives: tuple[tuple[dict[str, Any], list[str]], ...] = (
        ({}, ["deal.created"]),
        ({}, []),
        ({"title": "Renamed"}, ["deal.updated"]),
        ({"title": "Renamed", "status": "won"}, ["deal.updated", "deal.won"]),
        ({"title": "Again", "status": "won"}, ["deal.updated"]),
        ({"title": "Again", "status": "open"}, ["deal.updated"]),
        ({"title": "Again", "status": "lost"}, ["deal.updated", "deal.lost"]),
        ({"title": "Again", "status": "lost", "is_deleted": True}, ["deal.deleted"]),
        ({"title": "Again", "status": "lost"}, ["deal.updated"]),
    )
    for facts, expected in lives:
        raw.load(deals=[deal(1, **facts)])
        build(warehouse, SCOPE)

        assert types(warehouse) == expected, facts

    raw.load(deals=[deal(1, title="Priced", status="lost", value=7)])
    build(warehouse, SCOPE)
    (priced,) = recorded(warehouse)
    assert (priced["record"]["name"], priced["record"]["amount"]) == ("Priced", 7)
    assert priced["former"] == {"name": "Again", "amount": 1200.5}
    assert (priced["system"], priced["mart"], priced["deliveries"]) == ("pipedrive", "deals", 1)


def test_a_deal_that_is_won_when_it_is_first_read_is_won(
    warehouse: Warehouse, raw: RawTables
) -> None:
    """Made and won between two syncs: the win must not be lost."""
    subscribe(warehouse, "deal.won")
    raw.load(deals=[deal(1, status="won"), deal(2)])

    build(warehouse, SCOPE)

    assert types(warehouse) == ["deal.won"]


def test_a_row_that_is_written_twice_changed_once(warehouse: Warehouse, raw: RawTables) -> None:
    """The link of a lead to its deal, which is built later, is set by a second statement."""
    subscribe(warehouse, "lead.*", "deal.*")
    raw.load(leads=[lead()])
    build(warehouse, SCOPE)
    assert types(warehouse) == ["lead.created"]

    raw.load(
        leads=[lead(title="New", update_time="2025-02-01T08:00:00Z", source_deal_id=7)],
        deals=[deal(7)],
    )
    build(warehouse, SCOPE)

    changed, made = recorded(warehouse)
    assert (changed["type"], made["type"]) == ("lead.updated", "deal.created")
    assert changed["record"]["source_deal_id"] == str(made["row_id"])
    assert (changed["former"]["name"], changed["former"]["source_deal_id"]) == ("Lead 1", None)


def test_a_link_that_is_set_later_is_a_change(warehouse: Warehouse, raw: RawTables) -> None:
    subscribe(warehouse, "person.*")
    raw.load(persons=[person(1, org_id=7)])
    build(warehouse, SCOPE)
    recorded(warehouse)

    raw.load(organizations=[organization(7)])
    build(warehouse, SCOPE)

    (changed,) = recorded(warehouse)
    assert (changed["type"], changed["former"]) == ("person.updated", {"customer_id": None})


def test_deletions_and_merges_are_told(warehouse: Warehouse, raw: RawTables) -> None:
    """By a mark, by a merge, and of a part that its record has no longer."""
    subscribe(warehouse, "*")
    lines = [
        stamped(id=key, deal_id=5, product_id=None, name="Line", item_price=1, quantity=1)
        for key in (11, 12)
    ]
    raw.load(persons=[person(1), person(2), person(3)], deals=[deal(5)], deal_products=lines)
    build(warehouse, SCOPE)
    recorded(warehouse)

    raw.mark("persons", 1)
    raw.mark("persons", 2, "merged", 3)
    raw.mark("deal_products", 12)
    build(warehouse, SCOPE)

    rows = {(row["type"], row["record"]["remote_id"]): row for row in recorded(warehouse)}
    assert set(rows) == {
        ("person.deleted", "1"),
        ("person.deleted", "2"),
        ("deal_product.deleted", "12"),
    }
    merged = rows["person.deleted", "2"]["record"]
    assert (merged["deletion_reason"], merged["merged_into_remote_id"]) == ("merged", "3")


def test_a_row_that_raw_lacks_is_told_as_deleted(warehouse: Warehouse, raw: RawTables) -> None:
    """A whole build marks it, by a statement of its own."""
    subscribe(warehouse, "organization.*")
    raw.load(organizations=[organization(1), organization(2)])
    build(warehouse, SCOPE)
    recorded(warehouse)
    with warehouse.transaction(search_path=(raw.schema,)) as connection:
        connection.execute("delete from organizations where id = 2")

    build(warehouse, SCOPE, is_whole=True)

    (gone,) = recorded(warehouse)
    assert (gone["type"], gone["former"]["deleted_at"]) == ("organization.deleted", None)
    assert gone["record"]["deletion_reason"] == "deleted"


def test_parts_that_a_record_has_no_longer_are_noted(warehouse: Warehouse, raw: RawTables) -> None:
    """By a part of the statement of its own; no resource of the API is of parts so far."""
    prices = [{"price": 1, "currency": code} for code in ("EUR", "USD")]
    raw.load(products=[stamped(id=1, name="Drill", prices=prices)])
    build(warehouse, SCOPE)
    raw.load(products=[stamped(id=1, name="Drill", prices=prices[:1])])
    source = next(row for row in mart_sources("pipedrive") if row.name == "product_prices")

    with raw_transaction(warehouse, SCOPE) as connection:
        events.begin(connection, [source.name])
        parts = _with_parts(connection, _MartWork(source, EVERY_ID, None)).source
        connection.execute(upsert(parts, EVERY_ID, Known(), is_noted=True))
        notes = connection.execute(
            "select former ->> 'currency', former ->> 'deleted_at' from pg_temp.changed_records"
        ).fetchall()

    assert notes == [("USD", None)]


def test_a_statement_that_notes_nothing_has_no_part_for_it() -> None:
    """A tenant without webhooks pays nothing."""
    for source in mart_sources("pipedrive"):
        statements = [
            build_of(source, is_noted=is_noted).as_string()
            for is_noted in (False, True)
            for build_of in (
                partial(upsert, condition=EVERY_ID, known=Known()),
                partial(relink, known=Known(), condition=EVERY_ID),
            )
        ]

        assert ["changed_records" in text for text in statements] == [False, False, True, True]


def test_a_build_that_is_refused_records_nothing(warehouse: Warehouse, raw: RawTables) -> None:
    """Event and row are committed together, or neither is."""
    subscribe(warehouse, "*")
    raw.load(organizations=[organization(1)])
    with warehouse.transaction() as connection:
        connection.execute(
            "create function crm.spoil() returns trigger language plpgsql as"
            " $$begin new.name := null; return new; end$$"
        )
        connection.execute(
            "create trigger spoil before insert on crm.customers"
            " for each row execute function crm.spoil()"
        )

    with pytest.raises(AuditBreach):
        build(warehouse, SCOPE)

    assert recorded(warehouse) == []


def test_only_what_a_webhook_wants_is_recorded_for_it(warehouse: Warehouse, raw: RawTables) -> None:
    """An event that two want is stored once."""
    both, won = subscribe(warehouse, "deal.*", "person.created"), subscribe(warehouse, "deal.won")
    paused = subscribe(warehouse, "deal.won", state="paused")
    raw.load(persons=[person(1)], organizations=[organization(1)], deals=[deal(1, status="won")])

    build(warehouse, SCOPE)

    with warehouse.transaction() as connection:
        wanted = connection.execute(
            "select webhook_id, array_agg(type order by record_events.id)"
            " from integration.event_deliveries"
            " inner join integration.record_events on record_events.id = event_id group by 1"
        ).fetchall()
    assert dict(wanted) == {
        both: ["person.created", "deal.created", "deal.won"],
        won: ["deal.won"],
        paused: ["deal.won"],
    }
    assert len(recorded(warehouse)) == 3


def test_another_company_deletes_the_records_of_the_former_one(
    warehouse: Warehouse, raw: RawTables
) -> None:
    subscribe(warehouse, "*")
    raw.load(organizations=[organization(1)], deals=[deal(1)])
    build(warehouse, SCOPE)
    recorded(warehouse)

    with warehouse.transaction(tenant=ACME) as connection:
        start_afresh(connection, SCOPE)

    rows = recorded(warehouse)
    assert {row["type"] for row in rows} == {"organization.deleted", "deal.deleted"}
    assert {row["record"]["deletion_reason"] for row in rows} == {"company_changed"}
