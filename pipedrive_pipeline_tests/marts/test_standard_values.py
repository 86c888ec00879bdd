"""Standard JSON columns in any shape: understood, or listed as rejected; none stops a tenant."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.rows import dict_row

from pipedrive_pipeline.connectors.pipedrive.entities import ENTITIES
from pipedrive_pipeline.connectors.pipedrive.field_types import FIELD_TYPES
from pipedrive_pipeline.marts import build, publish_views
from pipedrive_pipeline.marts.fields.value_comparison import compare_values
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.fields import custom, key_of
from pipedrive_pipeline_tests.marts.hostile import VALUES
from pipedrive_pipeline_tests.marts.raw_tables import (
    SYSTEM,
    RawTables,
    label_field,
    organization,
    person,
)
from pipedrive_pipeline_tests.warehouse.databases import ACME

KINDS = [*FIELD_TYPES, "hologram"]
MARTS = {"organizations": "customers", "persons": "contacts"}
SHAPES = {
    entity: {column.name: column.shape for column in ENTITIES[entity].columns if column.shape}
    for entity in MARTS
}
STANDARD = [(entity, name) for entity, shapes in SHAPES.items() for name in shapes]
SHOWN = {
    "address": ("street", "city", "postal_code", "region", "country", "address"),
    "label_ids": ("labels",),
    "emails": ("email", "emails"),
    "phones": ("phone", "phones"),
}


def rows(warehouse: Warehouse, mart: str) -> list[dict[str, Any]]:
    with warehouse.transaction() as connection:
        query = f"select * from crm.{mart} order by remote_id::bigint".encode()
        return connection.cursor(row_factory=dict_row).execute(query).fetchall()


def rejected(warehouse: Warehouse) -> dict[tuple[str, int, str], str]:
    """Reasons by entity, record and field."""
    with warehouse.transaction() as connection:
        listed = connection.execute(
            "select entity, record_id, field, reason from integration.rejected_values"
        ).fetchall()
    return {(entity, int(record), field): reason for entity, record, field, reason in listed}


def with_values(raw: RawTables, texts: list[str]) -> None:
    """One organization and one person a value, in every standard JSON column and custom field."""
    fields: list[Mapping[str, Any]] = [custom(f"f {kind}", kind, key=kind) for kind in KINDS]
    raw.load(
        organization_fields=fields,
        person_fields=fields,
        organizations=[organization(number) for number in range(len(texts))],
        persons=[person(number) for number in range(len(texts))],
    )
    custom_fields = [
        "{" + ", ".join(f'"{key_of(kind)}": {text}' for kind in KINDS) + "}" for text in texts
    ]
    with raw.warehouse.transaction(search_path=(raw.schema,)) as connection:
        for entity, shapes in SHAPES.items():
            names = ["custom_fields", *shapes]
            connection.cursor().executemany(
                sql.SQL("update {} set {} where id = %s").format(
                    sql.Identifier(entity),
                    sql.SQL(", ").join(
                        sql.SQL("{} = %s::jsonb").format(sql.Identifier(name)) for name in names
                    ),
                ),
                [
                    (custom_fields[number], *[text] * len(shapes), number)
                    for number, text in enumerate(texts)
                ],
            )


def leaves(value: Any) -> Iterator[str]:
    """Texts, numbers and booleans of a value that say something, in Python's own words."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    elif isinstance(value, str):
        if any(character.isprintable() and not character.isspace() for character in value):
            yield value
    elif value is not None:
        yield json.dumps(value)


def content(column: str, value: Any) -> Any:
    """The value without the label and mark of an e-mail or phone, which say nothing alone."""
    if column not in ("emails", "phones"):
        return value
    return [
        {key: item for key, item in entry.items() if key not in ("label", "primary")}
        if isinstance(entry, dict)
        else entry
        for entry in (value if isinstance(value, list) else [value])
    ]


def assert_nothing_is_silently_null(raw: RawTables, texts: list[str]) -> None:
    """Every standard value is shown or listed; custom fields too, by the comparison itself."""
    listed = rejected(raw.warehouse)
    marts = {entity: rows(raw.warehouse, mart) for entity, mart in MARTS.items()}
    assert all(len(rows) == len(texts) for rows in marts.values())
    for number, text in enumerate(texts):
        for entity, name in STANDARD:
            row = marts[entity][number]
            is_shown = any(row[column] not in (None, [], "") for column in SHOWN[name])
            is_listed = (entity, number, name) in listed
            says_something = any(leaves(content(name, json.loads(text))))
            assert is_shown or is_listed or not says_something, (entity, name, text)
            assert says_something or not is_listed, (entity, name, text)
    assert compare_values(raw.warehouse, Scope(ACME, SYSTEM)).lost == ()


@pytest.mark.slow
def test_hostile_values_in_every_column_of_both_entities(raw: RawTables) -> None:
    """150 values that have hurt readers, in each JSON column and each type of custom field."""
    with_values(raw, VALUES)

    build(raw.warehouse, Scope(ACME, SYSTEM))
    publish_views(raw.warehouse, ACME)

    assert_nothing_is_silently_null(raw, VALUES)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.sampled_from(["", " ", "\u3000", "1", "1,2", "true", "a@x.de", "2026-02-30", "24:00"])
    | st.text(st.characters(exclude_categories=["C"]), max_size=5)
)
KEYS = st.sampled_from(
    ["value", "primary", "label", "id", "name", "locality", "route", "until", "currency", "x"]
)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@settings(
    max_examples=4,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],  # a failure names its value; making it smaller takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(values=st.lists(ANY_JSON, min_size=60, max_size=90))
def test_any_json_in_every_column_of_both_entities(raw: RawTables, values: list[Any]) -> None:
    """Values that a source may send: every row is built, and every value is shown or listed."""
    texts = [json.dumps(value) for value in values]
    with raw.warehouse.transaction() as connection:
        for statement in (
            "delete from crm.contacts",
            "delete from crm.customers",
            "delete from integration.rejected_values",
        ):
            connection.execute(statement.encode())
        for entity in raw.created:
            connection.execute(sql.SQL("delete from {}").format(sql.Identifier(raw.schema, entity)))
    with_values(raw, texts)

    build(raw.warehouse, Scope(ACME, SYSTEM))
    publish_views(raw.warehouse, ACME)

    assert_nothing_is_silently_null(raw, texts)


@pytest.mark.slow
def test_a_record_in_an_unexpected_shape_stops_no_other(raw: RawTables) -> None:
    """It loads and is listed; gone at the source, or repaired there, it is no matter any more."""
    nested = [[{"value": "a@x.de", "primary": True}]]
    raw.load(persons=[person(1, emails=nested), person(2, emails=nested), person(3)])
    build(raw.warehouse, Scope(ACME, SYSTEM))
    before = rejected(raw.warehouse)
    raw.mark("persons", 1)
    raw.load(persons=[person(2, emails=[{"value": "b@x.de"}])])

    build(raw.warehouse, Scope(ACME, SYSTEM))

    reason = "has an entry whose value is no text"
    assert before == {("persons", 1, "emails"): reason, ("persons", 2, "emails"): reason}
    assert [row["email"] for row in rows(raw.warehouse, "contacts")] == [None, "b@x.de", None]
    assert ("persons", 2, "emails") not in rejected(raw.warehouse)


POINTS: list[tuple[Any, list[dict[str, Any]], bool]] = [  # sent, entries, listed as rejected
    ("a@x.de", [{"value": "a@x.de"}], False),
    (["a@x.de", "b@x.de"], [{"value": "a@x.de"}, {"value": "b@x.de"}], False),
    ({"value": "a@x.de", "label": "work"}, [{"value": "a@x.de", "label": "work"}], False),
    ([{"value": 4931}], [{"value": "4931"}], False),
    (4931, [{"value": "4931"}], False),
    ([{"value": "a@x.de", "primary": "true"}], [{"value": "a@x.de", "primary": True}], False),
    ([None, {"value": " ", "label": "work", "primary": True}, {}, ""], [], False),
    ("\u00a0", [], False),
    ([{"value": "a@x.de"}, ["b@x.de"]], [{"value": "a@x.de"}], True),
    ([{"value": {"x": 1}}], [], True),
    ([{"email": "a@x.de"}], [], True),
    ({"work": "a@x.de"}, [], True),
    (True, [], True),
]


def test_obvious_shapes_of_addresses_and_numbers_are_understood(raw: RawTables) -> None:
    """One text, a list of texts, one object; of the rest nothing is silently null."""
    raw.load(
        persons=[
            person(number, emails=json_of(sent), phones=json_of(sent))
            for number, (sent, _, _) in enumerate(POINTS)
        ]
    )

    build(raw.warehouse, Scope(ACME, SYSTEM))

    listed = rejected(raw.warehouse)
    for number, row in enumerate(rows(raw.warehouse, "contacts")):
        sent, entries, is_listed = POINTS[number]
        first = entries[0]["value"] if entries else None
        assert (sent, row["emails"], row["email"]) == (sent, entries, first)
        assert (sent, row["phones"], row["phone"]) == (sent, entries, first)
        assert (sent, ("persons", number, "emails") in listed) == (sent, is_listed)


def json_of(value: Any) -> Any:
    """The value as a column of jsonb takes it."""
    return value if isinstance(value, dict | list) else json.dumps(value)


LABELS: list[tuple[Any, list[str], bool]] = [
    ("1,2", ["Neu", "Alt"], False),
    ("2, 1", ["Alt", "Neu"], False),
    (2, ["Alt"], False),
    ("2", ["Alt"], False),
    ([1.0, "2"], ["Neu", "Alt"], False),
    ([{"id": 2}, {"id": 9, "label": "Weg"}], ["Alt", "9"], False),
    ([{"label": "Heiß"}], ["Heiß"], False),
    ({"id": "1"}, ["Neu"], False),
    ([None, ""], [], False),
    ("", [], False),
    (["vip"], ["vip"], False),
    ([3], ["3"], False),  # its option has no label
    ([1, [2]], ["Neu"], True),
    ([{"x": 1}], [], True),
    (True, [], True),
]


def test_obvious_shapes_of_labels_are_understood(raw: RawTables) -> None:
    """Text such as "1,2", one number, objects with an id; an option without a label is its id."""
    options = label_field((1, "Neu"), (2, "Alt"), (3, None))  # type: ignore[arg-type]
    sent = [json_of(value) for value, _, _ in LABELS]
    raw.load(
        organization_fields=[options],
        person_fields=[options],
        organizations=[organization(n, label_ids=value) for n, value in enumerate(sent)],
        persons=[person(n, label_ids=value) for n, value in enumerate(sent)],
    )

    build(raw.warehouse, Scope(ACME, SYSTEM))

    listed = rejected(raw.warehouse)
    for entity, mart in MARTS.items():
        for number, row in enumerate(rows(raw.warehouse, mart)):
            value, labels, is_listed = LABELS[number]
            assert (value, row["labels"]) == (value, labels)
            assert (value, (entity, number, "label_ids") in listed) == (value, is_listed)


ADDRESSES: list[tuple[Any, str | None, str | None, bool]] = [  # sent, address, city, listed
    ("Kai 1, Kiel", "Kai 1, Kiel", None, False),
    ({"value": "Kai 1", "locality": "Kiel"}, "Kai 1", "Kiel", False),
    ({"value": None, "formatted_address": "Kai 1"}, "Kai 1", None, False),
    ({"value": "", "locality": ""}, None, None, False),
    (" ", None, None, False),
    ({"value": "Kai 1", "locality": ["Kiel"]}, "Kai 1", None, True),
    ({"value": {"x": "Kai 1"}, "locality": "Kiel"}, None, "Kiel", True),
    ({"x": "Kai 1"}, None, None, True),
    (["Kai 1"], None, None, True),
    (True, None, None, True),
]


def test_obvious_shapes_of_an_address_are_understood(raw: RawTables) -> None:
    """A text is an address; no part is shown as JSON; what is not shown is listed."""
    raw.load(
        organizations=[
            organization(n, address=json_of(case[0])) for n, case in enumerate(ADDRESSES)
        ]
    )

    build(raw.warehouse, Scope(ACME, SYSTEM))

    listed = rejected(raw.warehouse)
    for number, row in enumerate(rows(raw.warehouse, "customers")):
        sent, address, city, is_listed = ADDRESSES[number]
        assert (sent, row["address"], row["city"]) == (sent, address, city)
        assert (sent, ("organizations", number, "address") in listed) == (sent, is_listed)


def test_standard_values_are_listed_where_custom_fields_are_not_wanted(raw: RawTables) -> None:
    """The setting is of custom fields."""
    with raw.warehouse.transaction() as connection:
        connection.execute(
            "insert into integration.sync_settings (tenant_id, system, sync_custom_fields)"
            " values ('acme', 'pipedrive', false)"
        )
    raw.load(persons=[person(1, emails={"x": "a@x.de"})])

    build(raw.warehouse, Scope(ACME, SYSTEM))

    assert rejected(raw.warehouse).keys() == {("persons", 1, "emails")}


@pytest.mark.slow
def test_labels_and_industries_that_are_gone_keep_their_last_names(raw: RawTables) -> None:
    """Records still hold the id; a number in place of "Kunde" is a change that nobody made."""
    raw.load(
        organization_fields=[
            label_field((5, "Kunde"), (6, "Heiß")),
            label_field(("12", "Schiffbau"), code="industry"),
        ],
        person_fields=[label_field((5, "Chefin"))],
        organizations=[organization(1, label_ids=[5, 6], industry=12)],
        persons=[person(1, label_ids=[5])],
    )
    build(raw.warehouse, Scope(ACME, SYSTEM))
    raw.load(
        organization_fields=[label_field((6, "Heiß 🔥")), label_field(code="industry")],
        person_fields=[label_field((5, None))],  # type: ignore[arg-type]
    )

    build(raw.warehouse, Scope(ACME, SYSTEM))

    (customer,), (contact,) = (rows(raw.warehouse, mart) for mart in ("customers", "contacts"))
    assert (customer["labels"], customer["industry"]) == (["Kunde", "Heiß 🔥"], "Schiffbau")
    assert contact["labels"] == ["Chefin"]


def test_options_of_any_shape_leave_the_build_alone(raw: RawTables) -> None:
    """A definition is a record too: brackets ten thousand deep ended in a RecursionError."""
    deep = "[" * 5_000 + "]" * 5_000
    raw.load(
        organization_fields=[
            {**label_field((1, "Neu")), "options": f'[{{"id": 1, "label": "Neu", "x": {deep}}}]'},
            {**label_field(code="industry"), "options": '{"1": "Handel"}'},
            {**label_field(code="label"), "options": '[null, 7, [], {"id": {}}, {"label": "x"}]'},
        ],
        organizations=[organization(1, label_ids=[1], industry=1)],
    )

    build(raw.warehouse, Scope(ACME, SYSTEM))

    (row,) = rows(raw.warehouse, "customers")
    assert (row["labels"], row["industry"]) == (["Neu"], "1")


@pytest.mark.slow
@pytest.mark.parametrize("add_time", [None, "2025-02-03T08:00:00Z"])
def test_a_record_deleted_at_no_time_is_marked_when_it_was_read(
    raw: RawTables, add_time: str | None
) -> None:
    """Without `deleted_at` it would stay in the live views; the time must not move either."""
    read_at = datetime(2026, 1, 31, 10, 20, 30, 500_000, tzinfo=UTC)
    facts = {"is_deleted": True, "update_time": None, "add_time": add_time}
    raw.loads = int(read_at.timestamp()) - 1
    raw.load(organizations=[organization(1, **facts)], persons=[person(1, **facts)])
    build(raw.warehouse, Scope(ACME, SYSTEM))
    first = [rows(raw.warehouse, mart) for mart in MARTS.values()]
    raw.load(organizations=[organization(1, **facts)], persons=[person(1, **facts)])
    build(raw.warehouse, Scope(ACME, SYSTEM))
    again = [rows(raw.warehouse, mart) for mart in MARTS.values()]
    with raw.warehouse.transaction() as connection:
        connection.execute("update integration.mart_state set is_rebuild_due = true")
    build(raw.warehouse, Scope(ACME, SYSTEM))

    assert [(row["deleted_at"], row["deletion_reason"]) for (row,) in first] == [
        (read_at, "deleted"),
        (read_at, "deleted"),
    ]
    assert again == first
    assert [rows(raw.warehouse, mart) for mart in MARTS.values()] == first
