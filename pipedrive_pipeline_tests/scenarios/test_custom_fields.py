"""Custom fields through whole syncs: an account with sixty of them, and what time does to them.

Expected values are worked out here from what the source sends, by nothing of `marts/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from pipedrive_pipeline.marts import mapping
from pipedrive_pipeline.marts.fields.value_comparison import compare_values
from pipedrive_pipeline.sandbox import CrmAccount, Sandbox
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.scenarios.world import ACME, SYSTEM, World

VIEWS = {"organizations": "customers", "persons": "contacts"}
HOSTILE = {  # names that are alike once they are readable -> first columns of theirs
    ("USt-IdNr.",): {"ust_idnr"},
    ("Bemerkung", "Bemerkung"): {"bemerkung", "bemerkung_2"},
    ("Foo Bar", "foo_bar"): {"foo_bar", "foo_bar_2"},
    ("select",): {"select_field"},
    ("Größe", "Groesse"): {"groesse", "groesse_2"},
    ("Stimmung 🎯",): {"stimmung"},
    ("id",): {"id_2"},
    ("Region",): {"region_2"},
    ("Rabatt %",): {"rabatt_percent"},
    ("Ist die Einwilligung zur Datenverarbeitung schriftlich erteilt worden?",): {
        "ist_die_einwilligung_zur_datenverarbeitung_schriftlich_ertei"
    },
}


def expected(kind: str, value: Any, labels: Mapping[int | str, str]) -> dict[str, Any]:
    """What the parts of a field must show of a value of v2's shape."""
    day, hour = date.fromisoformat, time.fromisoformat
    parts: Mapping[str, Callable[[], dict[str, Any]]] = {
        "double": lambda: {"": Decimal(str(value))},
        "monetary": lambda: {
            "amount": Decimal(str(value["value"])),
            "currency": value["currency"],
        },
        "enum": lambda: {"": labels[value], "id": value},
        "set": lambda: {
            "": [labels[option_id] for option_id in sorted(value)],
            "ids": sorted(value),
        },
        "date": lambda: {"": day(value)},
        "daterange": lambda: {"from": day(value["value"]), "until": day(value["until"])},
        "time": lambda: {"": hour(value["value"])},
        "timerange": lambda: {"from": hour(value["value"]), "until": hour(value["until"])},
        "address": lambda: {"": value["value"], "locality": value["locality"]},
        **dict.fromkeys(("user", "org", "people"), lambda: {"id": value}),
    }
    if value is None:
        return {}
    return parts.get(kind, lambda: {"": value})()


def columns(world: World, mart: str) -> dict[tuple[str, str], str]:
    """Names of a view's columns by key and part of the field."""
    with world.warehouse.transaction() as connection:
        names = connection.execute(
            "select field_key, part, column_name from integration.view_columns"
            " where mart = %s and not is_retired",
            (mart,),
        )
        return {(key, part): name for key, part, name in names}


def shown(world: World, mart: str = "customers") -> dict[int, dict[str, Any]]:
    """Rows of a view by id."""
    return {row["pipedrive_id"]: row for row in world.rows_of_view("analytics_acme", mart)}


@pytest.mark.slow
def test_sixty_fields_are_shown_as_the_source_has_them(
    world: World, sandbox: Sandbox, account: CrmAccount
) -> None:
    """Every value of every field of every type, under readable names."""
    world.sync()

    differing, compared = [], 0
    for entity, mart in VIEWS.items():
        names, rows = columns(world, mart), shown(world, mart)
        fields = [field for field in account.fields[entity] if field.is_custom]
        for record in sandbox.truth(entity):
            for field in fields:
                value = record["custom_fields"][field.code]
                labels = {option.id: option.label for option in field.options or ()}
                for part, wanted in expected(field.type, value, labels).items():
                    compared += 1
                    value_shown = rows[record["id"]][names[field.code, part]]
                    if value_shown != wanted:
                        differing.append((entity, record["id"], field.name, wanted, value_shown))
    assert not differing, differing[:5]
    assert compared > 5_000
    names = columns(world, "customers")
    for alike, wanted_columns in HOSTILE.items():
        codes = [field.code for field in account.fields["organizations"] if field.name in alike]
        assert {names[code, ""] for code in codes} == wanted_columns
    assert compare_values(world.warehouse, Scope(ACME, SYSTEM)).lost == ()


@pytest.mark.slow
def test_fields_change_between_syncs_and_nothing_breaks(world: World, account: CrmAccount) -> None:
    """Renamed, retyped, deleted and made again; options too; with an analyst's view on top."""
    fields = account.fields["organizations"]
    region, rate, note, number = (
        fields.named(name) for name in ("Region", "Rabatt %", "Interne Notiz", "Kundennummer")
    )
    assert region.options is not None
    north, south = (option.id for option in region.options[:2])
    account.edit("organizations", 1, custom_fields={region.code: north, rate.code: 5})
    account.edit("organizations", 2, custom_fields={region.code: south, number.code: "K-2"})
    text = {"organizations": {number.code: "customer_number"}}
    world.sync()
    version = mapping.save(world.warehouse, Scope(ACME, SYSTEM), text, who="a test")
    world.sync()
    with world.warehouse.transaction() as connection:
        connection.execute("create schema own")
        connection.execute(
            "create view own.report as select pipedrive_id, region_2, rabatt_percent,"
            " interne_notiz, kundennummer, customer_number from analytics_acme.customers"
        )

    fields.rename_options(region.code, {north: "Norden"})
    fields.drop_options(region.code, [south])
    fields.change(note.code, name="Notiz der Zentrale")
    fields.change(rate.code, type="varchar")
    account.edit("organizations", 1, custom_fields={rate.code: "viel"})
    fields.drop(number.code)
    again = fields.add("Kundennummer", "varchar")
    account.edit("organizations", 2, custom_fields={again.code: "N-2"})
    world.sync()

    rows = shown(world)
    assert (rows[1]["region_2"], rows[2]["region_2"]) == ("Norden", "Süd")
    assert "interne_notiz" not in rows[1]
    assert "notiz_der_zentrale" in rows[1]
    assert (rows[1]["rabatt_percent"], rows[1]["rabatt_percent_varchar"]) == (None, "viel")
    assert (rows[2]["kundennummer_2"], rows[2]["customer_number"]) == ("N-2", "K-2")
    report = {row["pipedrive_id"]: row for row in world.rows_of_view("own", "report")}
    assert (report[1]["region_2"], report[1]["rabatt_percent"]) == ("Norden", None)
    assert report[2]["customer_number"] == "K-2"
    catalogue_fields = list(mapping.catalogue(world.warehouse, Scope(ACME, SYSTEM)).fields)
    assert [entry.field_key for entry in mapping.vanished(version.mapping, catalogue_fields)] == [
        number.code
    ]
    with world.warehouse.transaction(ACME) as connection:
        offered = mapping.proposals(
            connection, Scope(ACME, SYSTEM), version.mapping, catalogue_fields
        )
    assert (again.code, "customer_number") in {
        (offer.entry.field_key, offer.entry.target) for offer in offered
    }
    column_changes = {(row["change"], row["column_after"]) for row in changes(world)}
    assert column_changes >= {
        ("renamed", "notiz_der_zentrale"),
        ("kept", "rabatt_percent_varchar"),
        ("added", "kundennummer_2"),
    }
    assert compare_values(world.warehouse, Scope(ACME, SYSTEM)).lost == ()


def changes(world: World) -> list[dict[str, Any]]:
    """The column changes that analysts can read."""
    return world.rows_of_view("analytics_acme", "column_changes", order_by="changed_at")


@pytest.mark.slow
def test_a_record_of_v1s_shape_reads_the_same(world: World, account: CrmAccount) -> None:
    """A gateway that sends custom fields at the top level: they end in `extra`, and are typed."""
    fields = account.fields["organizations"]
    limit, region, products, start = (
        fields.named(name).code for name in ("Kreditlimit", "Region", "Produkte", "Erstkontakt")
    )
    options = {
        name: [option.id for option in fields.named(name).options or ()]
        for name in ("Region", "Produkte")
    }
    account.plant(
        "organizations",
        1,
        without=["custom_fields"],
        **{
            limit: 1200.5,
            f"{limit}_currency": "EUR",
            region: str(options["Region"][0]),
            products: f"{options['Produkte'][1]},{options['Produkte'][0]}",
            start: "2026-02-30",
        },
    )

    world.sync()

    row = shown(world)[1]
    extra = next(row["extra"] for row in world.raw(ACME, "organizations") if row["id"] == 1)
    assert extra[limit] == 1200.5
    assert (row["kreditlimit_amount"], row["kreditlimit_currency"]) == (Decimal("1200.5"), "EUR")
    assert (row["region_2"], row["region_2_id"]) == ("Nord", options["Region"][0])
    assert row["produkte"] == ["Wärmepumpe", "Lüftung"]
    assert row["erstkontakt"] is None
    rejected = world.rows("integration", "rejected_values")
    assert [(row["record_id"], row["field"], row["reason"]) for row in rejected] == [
        ("1", start, "is no day of the calendar")
    ]
    assert compare_values(world.warehouse, Scope(ACME, SYSTEM)).lost == ()


@pytest.mark.slow
def test_values_without_measure_are_shown_or_listed(world: World, account: CrmAccount) -> None:
    """A megabyte, ten thousand options, brackets ten thousand deep, a key that comes twice."""
    fields = account.fields["organizations"]
    note, limit = (fields.named(name).code for name in ("Interne Notiz", "Kreditlimit"))
    many = fields.add("Viele", "enum", [f"Option {number}" for number in range(10_000)])
    assert many.options is not None
    text, deep = "ä" * 1_000_000, msgspec.Raw(b"[" * 10_000 + b"]" * 10_000)
    twice = msgspec.Raw(b'{"value": 1, "value": 2, "currency": null}')
    account.plant("organizations", 1, custom_fields={note: text, many.code: many.options[-1].id})
    account.plant("organizations", 2, custom_fields={note: deep, limit: twice})

    world.sync()

    rows = shown(world)
    assert rows[1]["interne_notiz"] == text
    assert rows[1]["viele"] == "Option 9999"
    assert (rows[2]["interne_notiz"], rows[2]["kreditlimit_amount"]) == (None, Decimal(2))
    rejected = world.rows("integration", "rejected_values")
    assert [(row["record_id"], row["field"]) for row in rejected] == [("2", note)]
    assert compare_values(world.warehouse, Scope(ACME, SYSTEM)).lost == ()
