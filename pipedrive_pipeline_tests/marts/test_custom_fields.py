"""Custom fields as an analyst sees them: names, types, values, and what time does to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any

import pytest

from pipedrive_pipeline.marts import mapping
from pipedrive_pipeline.marts.fields.value_comparison import compare_values
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.fields import columns, custom, key_of, published, shown
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization, person, user
from pipedrive_pipeline_tests.warehouse.databases import ACME

EVERY_TYPE: list[Mapping[str, Any]] = [
    custom("Kundennummer"),
    custom("Kürzel", "varchar_auto"),
    custom("Bemerkung", "text"),
    custom("Notruf", "phone"),
    custom("Rabatt %", "double"),
    custom("Anzahl", "int"),
    custom("Kreditlimit", "monetary"),
    custom("Bezirk", "enum", {7: "Nord", 8: "Süd"}),
    custom("Produkte", "set", {11: "Pumpe", 12: "Lüftung"}),
    custom("Erstkontakt", "date"),
    custom("Laufzeit", "daterange"),
    custom("Rückruf", "time"),
    custom("Geöffnet", "timerange"),
    custom("Lieferadresse", "address"),
    custom("Betreuer", "user"),
    custom("Mutter", "org"),
    custom("Ansprechperson", "people"),
    custom("Geprüft", "boolean"),
    custom("Neu", "hologram"),
]
V2 = {
    "Kundennummer": "K-1",
    "Kürzel": "abc",
    "Bemerkung": "zwei\nZeilen",
    "Notruf": "+49 431 1",
    "Rabatt %": 0.1,
    "Anzahl": 3,
    "Kreditlimit": {"value": 1200.5, "currency": "EUR"},
    "Bezirk": 8,
    "Produkte": [12, 11],
    "Erstkontakt": "2026-01-31",
    "Laufzeit": {"value": "2026-01-01", "until": "2026-12-31"},
    "Rückruf": {"value": "09:30:00", "timezone_id": 280, "timezone_name": "Europe/Berlin"},
    "Geöffnet": {"value": "08:00:00", "until": "17:15", "timezone_name": "Europe/Berlin"},
    "Lieferadresse": {"value": "Kai 1, Kiel", "route": "Kai", "locality": "Kiel"},
    "Betreuer": 5,
    "Mutter": 2,
    "Ansprechperson": 9,
    "Geprüft": True,
    "Neu": {"x": 1},
}
EXPECTED = {
    "kundennummer": "K-1",
    "kuerzel": "abc",
    "bemerkung": "zwei\nZeilen",
    "notruf": "+49 431 1",
    "rabatt_percent": Decimal("0.1"),
    "anzahl": 3,
    "kreditlimit_amount": Decimal("1200.5"),
    "kreditlimit_currency": "EUR",
    "bezirk": "Süd",
    "bezirk_id": 8,
    "produkte": ["Pumpe", "Lüftung"],
    "produkte_ids": [11, 12],
    "erstkontakt": date(2026, 1, 31),
    "laufzeit_from": date(2026, 1, 1),
    "laufzeit_until": date(2026, 12, 31),
    "rueckruf": time(9, 30),
    "rueckruf_timezone": "Europe/Berlin",
    "geoeffnet_from": time(8),
    "geoeffnet_until": time(17, 15),
    "geoeffnet_timezone": "Europe/Berlin",
    "lieferadresse": "Kai 1, Kiel",
    "lieferadresse_route": "Kai",
    "lieferadresse_locality": "Kiel",
    "lieferadresse_country": None,
    "betreuer": "Ada",
    "betreuer_id": 5,
    "mutter": "Firma 2",
    "mutter_id": 2,
    "ansprechperson": "Mensch 9",
    "ansprechperson_id": 9,
    "geprueft": True,
    "neu": {"x": 1},
}
V1: dict[str, Any] = {
    "Kundennummer": "K-1",
    "Rabatt %": 0.1,
    "Kreditlimit": 1200.5,
    "Kreditlimit_currency": "EUR",
    "Bezirk": "8",
    "Produkte": "12,11",
    "Erstkontakt": "2026-01-31",
    "Laufzeit": "2026-01-01",
    "Laufzeit_until": "2026-12-31",
    "Rückruf": "09:30:00",
    "Lieferadresse": "Kai 1, Kiel",
    "Lieferadresse_route": "Kai",
    "Betreuer": {"id": 5, "name": "Ada"},
    "Mutter": {"value": 2, "name": "Firma 2"},
}


def keyed(values: dict[str, Any]) -> dict[str, Any]:
    """The values under the keys of their fields."""
    return {
        key_of(name.partition("_")[0]) + "".join(name.partition("_")[1:]): value
        for name, value in values.items()
    }


def every_type(raw: RawTables, **facts: Any) -> dict[str, Any]:
    """The first row of customers with a field of every type."""
    raw.load(
        organization_fields=EVERY_TYPE,
        users=[user(5, "Ada")],
        persons=[person(9)],
        organizations=[organization(1, **facts), organization(2)],
    )
    published(raw)
    return shown(raw.warehouse)[0]


@pytest.mark.slow
def test_every_type_becomes_readable_columns_of_the_right_type(raw: RawTables) -> None:
    """No 40-digit keys, no option ids without their label, no untyped blobs."""
    row = every_type(raw, custom_fields=keyed(V2))

    assert {name: row[name] for name in EXPECTED} == EXPECTED
    types = {name: kind for name, (kind, _) in columns(raw.warehouse).items()}
    assert types["rabatt_percent"] == types["kreditlimit_amount"] == "numeric"
    assert (types["produkte"], types["produkte_ids"]) == ("text[]", "bigint[]")
    assert (types["erstkontakt"], types["neu"]) == ("date", "jsonb")


@pytest.mark.slow
def test_fields_at_the_top_level_of_a_record_read_the_same(raw: RawTables) -> None:
    """Gateways and older exports send v1's shape: ingest keeps those keys in `extra`."""
    row = every_type(raw, extra=keyed(V1))

    prefixes = {name.partition("_")[0] for name in V1}
    names = {"Rabatt %": "rabatt", "Rückruf": "rueckruf"}
    bases = tuple(names.get(name, name.casefold()) for name in prefixes)
    expected = {name: value for name, value in EXPECTED.items() if name.startswith(bases)}
    expected |= {"rueckruf_timezone": None, "lieferadresse_locality": None}
    assert {name: row[name] for name in expected} == expected


@pytest.mark.slow
def test_a_view_reads_like_a_data_dictionary(raw: RawTables) -> None:
    """Each column says which field it shows: name, key and type."""
    every_type(raw, custom_fields={})

    comments = {name: comment for name, (_, comment) in columns(raw.warehouse).items()}
    assert (
        comments["rabatt_percent"]
        == f"Rabatt % (field {key_of('Rabatt %')} of pipedrive, type double)"
    )
    assert comments["bezirk_id"].endswith("type enum): id of the option")
    assert "this type is not known here" in comments["neu"]


NAMES = [  # as in docs/custom-fields.md
    ("Kundennummer", "kundennummer"),
    ("USt-IdNr.", "ust_idnr"),
    ("Größe", "groesse"),
    ("Groesse", "groesse_2"),
    ("Foo Bar", "foo_bar"),
    ("foo_bar", "foo_bar_2"),
    ("FOO--BAR", "foo_bar_3"),
    ("select", "select_field"),
    ("User", "user_field"),
    ("id", "id_2"),
    ("Name", "name_2"),
    ("2. Ansprechpartner", "field_2_ansprechpartner"),
    ("Stimmung 🎯", "stimmung"),
    ("🎯", "field"),
    ("Rabatt %", "rabatt_percent"),
    ("Café crème", "cafe_creme"),
    ("a\"b'; drop table x; --", "a_b_drop_table_x"),
    ("Регион", "регион"),
    ("Київ", "київ"),
    ("мой", "мой"),
    ("мои", "мои"),
    ("データ", "データ"),
    ("テータ", "テータ"),
    ("हिन्दी", "हिन्दी"),
    ("เนื้อน้ำ", "เนื้อน้ำ"),
    ("Cafe creme", "cafe_creme_2"),
    ("हिन्दी" * 10, "हिन्दी" * 3 + "हि"),
    ("CTID", "ctid_field"),
    ("xmin", "xmin_field"),
    ("x" * 300, "x" * 63),
    ("x" * 299, "x" * 61 + "_2"),
]


@pytest.mark.slow
def test_names_are_readable_unique_and_need_no_quotes(raw: RawTables) -> None:
    """By hand, one for each way in which a name can hurt."""
    for name, _ in NAMES:  # one load each: who came first has the plain name
        raw.load(organization_fields=[custom(name)])
        published(raw)

    shown_columns = {
        comment.rpartition(" (field ")[0]: name
        for name, (_, comment) in columns(raw.warehouse).items()
    }
    with raw.warehouse.transaction() as connection:  # as a model of dbt or an extract does
        connection.execute("create table pg_temp.copied as select * from analytics_acme.customers")
    assert [(name, shown_columns[name]) for name, _ in NAMES] == NAMES


@pytest.fixture
def synced(raw: RawTables) -> RawTables:
    """One customer with a discount, a region and a number; views published."""
    raw.load(
        organization_fields=[
            custom("Rabatt", "double"),
            custom("Bezirk", "enum", {7: "Nord", 8: "Süd"}),
            custom("Nummer"),
        ],
        organizations=[
            organization(1, custom_fields=keyed({"Rabatt": 2.5, "Bezirk": 8, "Nummer": "K-1"}))
        ],
    )
    published(raw)
    return raw


def with_own_view(warehouse: Warehouse) -> None:
    """What an analyst builds on ours."""
    with warehouse.transaction() as connection:
        connection.execute("create schema own")
        connection.execute(
            "create view own.report as select name, rabatt, bezirk from analytics_acme.customers"
        )


def report(warehouse: Warehouse) -> list[tuple[object, ...]]:
    with warehouse.transaction() as connection:
        return connection.execute("select rabatt, bezirk from own.report").fetchall()


def changes(warehouse: Warehouse) -> list[tuple[object, ...]]:
    """The changes that analysts read of, without the first columns."""
    with warehouse.transaction() as connection:
        return connection.execute(
            """
            select change, column_before, column_after
            from analytics_acme.column_changes
            where change <> 'added'
            order by change, column_before
            """
        ).fetchall()


@pytest.mark.slow
@pytest.mark.parametrize("is_built_on", [False, True])
def test_a_renamed_field_gives_a_renamed_column(synced: RawTables, is_built_on: bool) -> None:
    """Identity is the key; what is built on the view goes on."""
    if is_built_on:
        with_own_view(synced.warehouse)

    synced.load(
        organization_fields=[
            custom("Skonto", "double", key="Rabatt"),
            custom("Gebiet", "enum", {7: "Nord", 8: "Süd"}, key="Bezirk"),
        ]
    )
    published(synced)

    (row,) = shown(synced.warehouse)
    assert (row["skonto"], row["gebiet"], row["gebiet_id"]) == (Decimal("2.5"), "Süd", 8)
    assert "rabatt" not in row
    assert changes(synced.warehouse) == [
        ("renamed", "bezirk", "gebiet"),
        ("renamed", "bezirk_id", "gebiet_id"),
        ("renamed", "rabatt", "skonto"),
    ]
    if is_built_on:
        assert report(synced.warehouse) == [(Decimal("2.5"), "Süd")]


@pytest.mark.slow
def test_two_fields_may_exchange_their_names(synced: RawTables) -> None:
    """Neither ends up as `…_2`."""
    synced.load(
        organization_fields=[
            custom("Nummer", "double", key="Rabatt"),
            custom("Rabatt", key="Nummer"),
        ]
    )
    published(synced)

    (row,) = shown(synced.warehouse)
    assert (row["nummer"], row["rabatt"]) == (Decimal("2.5"), "K-1")


@pytest.mark.slow
def test_a_retyped_field_has_its_new_type_under_its_name(synced: RawTables) -> None:
    """Nothing is built on the view: the column changes, and the change is listed."""
    synced.load(organization_fields=[custom("Rabatt", "varchar")])
    published(synced)

    assert shown(synced.warehouse)[0]["rabatt"] == "2.5"
    assert columns(synced.warehouse)["rabatt"][0] == "text"
    assert changes(synced.warehouse) == [("retyped", "rabatt", "rabatt")]


@pytest.mark.slow
def test_a_retyped_field_leaves_what_is_built_on_it(synced: RawTables) -> None:
    """The old column stays, the new column is added, and the change is listed for analysts."""
    with_own_view(synced.warehouse)

    synced.load(
        organization_fields=[custom("Rabatt", "varchar")],
        organizations=[organization(1, custom_fields=keyed({"Rabatt": "viel", "Bezirk": 8}))],
    )
    published(synced)

    (row,) = shown(synced.warehouse)
    assert (row["rabatt"], row["rabatt_varchar"]) == (None, "viel")
    assert report(synced.warehouse) == [(None, "Süd")]
    assert changes(synced.warehouse) == [("kept", "rabatt", "rabatt_varchar")]


@pytest.mark.slow
def test_a_deleted_field_keeps_its_column_and_a_new_one_is_another(synced: RawTables) -> None:
    """Made again under the same name it has another key."""
    with_own_view(synced.warehouse)

    synced.mark("organization_fields", key_of("Rabatt"))
    synced.load(
        organization_fields=[custom("Rabatt", "double", key="Rabatt again")],
        organizations=[organization(1, custom_fields=keyed({"Rabatt again": 7}))],
    )
    published(synced)

    (row,) = shown(synced.warehouse)
    assert (row["rabatt"], row["rabatt_2"]) == (None, Decimal(7))
    assert "no longer in the source" in columns(synced.warehouse)["rabatt"][1]
    assert report(synced.warehouse) == [(None, None)]


@pytest.mark.slow
def test_options_are_renamed_and_removed_ones_stay_known(synced: RawTables) -> None:
    """Records keep the id; the view needs no new definition."""
    before = columns(synced.warehouse)

    synced.load(organization_fields=[custom("Bezirk", "enum", {7: "Norden"})])
    published(synced)

    assert shown(synced.warehouse)[0]["bezirk"] == "Süd"
    assert columns(synced.warehouse) == before
    synced.load(organization_fields=[custom("Bezirk", "enum", {8: "Süden"})])
    published(synced)
    assert shown(synced.warehouse)[0]["bezirk"] == "Süden"


@pytest.mark.slow
def test_the_history_of_fields_is_kept(synced: RawTables) -> None:
    """Each change once, in order; a definition that stays the same adds nothing."""
    synced.load(organization_fields=[custom("Bezirk", "enum", {7: "Norden"})])
    published(synced)
    synced.mark("organization_fields", key_of("Nummer"))
    published(synced)
    published(synced)
    synced.unmark("organization_fields", key_of("Nummer"))
    published(synced)

    with synced.warehouse.transaction() as connection:
        history = connection.execute(
            "select change, before, after from integration.field_changes"
            " where change <> 'added' order by id"
        ).fetchall()
    assert history == [
        ("option_renamed", "Nord", "Norden"),
        ("option_removed", "Süd", None),
        ("removed", "Nummer", None),
        ("restored", None, "Nummer"),
    ]


@pytest.mark.slow
def test_columns_that_are_not_selected_cost_nothing(synced: RawTables) -> None:
    """Without a custom field raw is not read at all; with many its jsonb is fetched once a row."""

    def plan(columns: str) -> str:
        with synced.warehouse.transaction() as connection:
            query = f"explain (verbose) select {columns} from analytics_acme.customers".encode()
            return "\n".join(row[0] for row in connection.execute(query))

    assert "raw_pipedrive_acme" not in plan("name, customer_number")
    many = plan("rabatt, bezirk, bezirk_id, nummer")
    assert many.count("Output: (pipedrive_record.custom_fields || '{}'::jsonb)") == 1
    assert "Memoize" not in many


@pytest.mark.slow
def test_a_percent_sign_in_a_field_code_or_label_is_data(raw: RawTables) -> None:
    """The field was read as a placeholder of a query, and the whole build was refused."""
    codes = ["5%_off", "%s", "%(tenant)s", "100%", "%%", "%I"]
    labels = {1: "10 %", 2: "%s"}
    text = [{**custom(f"Text {code}"), "field_code": code} for code in codes]
    chosen = {**custom("Wahl", "enum", labels), "field_code": "wahl%d"}
    values = {code: f"Wert {code}" for code in codes}
    raw.load(
        organization_fields=[*text, chosen],
        organizations=[organization(1, custom_fields={**values, "wahl%d": 2})],
    )
    published(raw)
    targets = {code: f"attributes.a{number}" for number, code in enumerate(codes)}
    sources = {"organizations": {**targets, "wahl%d": "industry"}}
    preview = mapping.preview(raw.warehouse, Scope(ACME, SYSTEM), sources)
    mapping.save(raw.warehouse, Scope(ACME, SYSTEM), sources, who="a test")

    published(raw)
    raw.load(organizations=[organization(2, custom_fields={**values, "wahl%d": "7 %x"})])
    published(raw)

    first, second = shown(raw.warehouse)
    assert set(values.values()) <= set(map(str, first.values()))
    assert first["wahl"] == "%s"
    assert second["wahl"] is None
    with raw.warehouse.transaction() as connection:
        attributes, industry = connection.execute(
            "select attributes, industry from crm.customers where pipedrive_id = 1"
        ).fetchone() or ({}, None)
        (rejected,) = connection.execute(
            "select field, value from integration.rejected_values where record_id = '2'"
        ).fetchall()
    assert set(attributes.values()) == set(values.values())
    assert industry == "%s"
    assert rejected == ("wahl%d", '"7 %x"')
    assert [entry.percent for entry in preview.coverage] == [100.0] * len(sources["organizations"])
    assert not compare_values(raw.warehouse, Scope(ACME, SYSTEM)).lost
