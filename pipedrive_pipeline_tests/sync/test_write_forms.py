"""What a caller sends becomes what a body says, or is refused with what it must be."""

from __future__ import annotations

from typing import Any

import pytest

from pipedrive_pipeline.connectors.pipedrive.system import PIPEDRIVE
from pipedrive_pipeline.connectors.pipedrive.writer import _has_all
from pipedrive_pipeline.connectors.pipedrive.writes import (
    WRITES,
    archived,
    named_person,
    with_participant,
    with_rot,
    with_whole_value,
)
from pipedrive_pipeline.connectors.writing import WriteField
from pipedrive_pipeline.marts.declared import MARTS, mart
from pipedrive_pipeline.sync.writes.comparison import CUSTOM, SAME, is_stored, version
from pipedrive_pipeline.sync.writes.forms import CUSTOM_FORMS, FORMS, WrongValue, numbered, option

GOOD: dict[str, list[tuple[Any, Any]]] = {
    "text": [("Firma", "Firma")],
    "number": [(1.5, 1.5), ("2", 2), (3.0, 3)],
    "whole": [(7, 7), ("7", 7)],
    "boolean": [(True, True)],
    "day": [("2026-11-30", "2026-11-30")],
    "clock": [("09:30", "09:30:00")],
    "instant": [
        ("2026-11-30T10:00:00+01:00", "2026-11-30T09:00:00Z"),
        ("0122-10-25T15:11:46-22:12", "0122-10-26T13:23:46Z"),
    ],
    "currency": [("EUR", "EUR")],
    "address": [("Weg 1", {"value": "Weg 1"})],
    "points": [
        (["a@b.de"], [{"value": "a@b.de", "primary": True, "label": "work"}]),
        (
            [{"value": "1", "label": "home"}, {"value": "2", "primary": True}],
            [
                {"value": "1", "primary": False, "label": "home"},
                {"value": "2", "primary": True, "label": "work"},
            ],
        ),
    ],
    "prices": [([{"currency": "EUR", "price": 2}], [{"currency": "EUR", "price": 2}])],
}
BAD: dict[str, list[Any]] = {
    "text": [1, None, "a\x00b", "\ud800", "x" * 70_000],
    "number": ["viel", True, float("nan"), 10**16, [1], "1_000", "१२", "1e3", ""],
    "whole": [1.5, "x", False],
    "boolean": ["true", 1],
    "day": ["30.11.2026", 5, "2026-13-01"],
    "clock": ["25:00", 9, "23:30-05:00", "09:30Z"],
    "instant": ["2026-11-30", "2026-11-30T09:00:00", 1, "0001-01-01T00:00:00+10:00"],
    "currency": ["euro", "eur", 1],
    "address": [{"value": "Weg"}, 1],
    "points": ["a@b.de", [1], [{"value": 1}], [{"value": "x", "kind": "y"}], [{}]],
    "prices": [{}, [{"price": 1}], [{"currency": "EUR"}, {"currency": "EUR"}], ["EUR"]],
}


def of(form: Any) -> WriteField:
    return WriteField("x", "x", form)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_takes_what_fits_and_refuses_the_rest(form: str) -> None:
    assert [FORMS[form](of(form), sent) for sent, _ in GOOD[form]] == [b for _, b in GOOD[form]]
    for value in BAD[form]:
        with pytest.raises(WrongValue):
            FORMS[form](of(form), value)


def test_a_custom_time_with_an_offset_is_refused() -> None:
    """The offset was dropped, and another time stored."""
    for kind, value in (
        ("time", "10:00+02:00"),
        ("timerange", {"value": "10:00", "until": "11:00Z"}),
    ):
        with pytest.raises(WrongValue, match="without an offset"):
            CUSTOM_FORMS[kind](value)


def test_every_type_of_custom_field_that_is_read_can_be_written() -> None:
    kinds = {kind.kind for kind in PIPEDRIVE.field_types.values()}

    assert kinds - {"enum", "set", "choice"} <= CUSTOM_FORMS.keys()


def test_an_option_is_named_by_id_or_label_and_never_by_two() -> None:
    options = numbered({"1": "Rot", "2": "rot", "3": "Grün"})

    assert [option(options, each) for each in (3, "3", "Grün", "grün", "Rot")] == [3, 3, 3, 3, 1]
    for value in ("ROT", "Blau", True, None):
        with pytest.raises(WrongValue):
            option(options, value)


def test_each_write_is_of_a_mart_and_of_its_own_columns() -> None:
    """A field that no column shows could not be compared with what came of it."""
    names = {declared.name for declared in MARTS}
    extra = {"due_time", "prices"}  # parts of starts_at; a mart of their own
    for operation, spec in WRITES.items():
        assert operation.mart in names
        declared = mart(operation.mart)
        columns = {column.name for column in declared.columns} | {x.name for x in declared.links}
        assert {each.column for each in spec.fields} <= columns | extra
        assert set(spec.required) | set(spec.one_of) <= set(spec.by_column) | {"deal_id"}
        assert spec.entity in PIPEDRIVE.by_name


def test_bodies_get_the_form_that_the_source_takes() -> None:
    assert named_person({"name": "A B", "first_name": "A"}, {}) == {"name": "A B"}
    assert with_participant({"person_id": 3}, {}) == {
        "participants": [{"person_id": 3, "primary": True}]
    }
    assert with_participant({"person_id": None}, {}) == {"participants": []}
    before_people = [{"person_id": 4, "primary": True}, {"person_id": 3, "primary": False}]
    assert with_participant({"person_id": 3}, {"participants": before_people}) == {
        "participants": [{"person_id": 3, "primary": True}]
    }
    before = {"amount": 5, "currency": "EUR"}
    assert with_whole_value({"value": {"amount": 7}}, before) == {
        "value": {"amount": 7, "currency": "EUR"}
    }
    assert with_whole_value({"value": {"amount": None}}, before) == {"value": None}
    assert with_rot({"days_to_rotten": None}, {})["is_deal_rot_enabled"] is False
    assert archived({"is_archived": True}, {"is_archived": False}) is None
    assert archived({"is_archived": True}, {"title": "x"}) is not None


@pytest.mark.parametrize("shape", [with_participant, with_rot, named_person])
def test_a_body_that_is_shaped_again_stays_as_it_is(shape: Any) -> None:
    """A write that is sent again after a crash has its last form already."""
    body = {"person_id": 3, "days_to_rotten": 2, "name": "A", "first_name": "B"}
    once = shape(dict(body), {})

    assert shape(dict(once), {}) == once


def test_a_lost_record_is_known_by_all_that_was_sent() -> None:
    record = {
        "name": "Firma",
        "value": 10,
        "visible_to": "3",
        "address": {"value": "Weg 1", "country": None},
        "due_time": "09:30:00",
        "emails": [{"value": "a@b.de", "primary": True, "label": "work"}],
        "custom_fields": {"abc": 5},
    }
    body = {
        "name": "Firma ",
        "value": 10.0,
        "visible_to": 3,
        "address": {"value": "Weg 1"},
        "due_time": "09:30",
        "emails": [{"value": "a@b.de", "primary": True}],
        "custom_fields": {"abc": 5},
        "org_id": None,
    }

    assert _has_all(record, body)
    for key, value in (("name", "Andere"), ("value", 11), ("emails", []), ("org_id", 4)):
        assert not _has_all(record, {**body, key: value})


def test_a_version_changes_with_the_record_and_with_nothing_else() -> None:
    row = {"name": "A", "owner_remote_id": "1", "owner_name": "Ada", "synced_at": 1, CUSTOM: {}}

    assert version("customers", row) == version(
        "customers", {**row, "owner_name": "Bea", "synced_at": 2}
    )
    assert version("customers", row) != version("customers", {**row, "name": "B"})
    assert version("customers", row) != version("customers", {**row, "owner_remote_id": "2"})
    assert version("customers", row) != version("customers", {**row, CUSTOM: {"region": "Nord"}})


def test_a_stored_value_is_compared_in_the_form_of_the_column() -> None:
    name = WriteField("name", "name")

    assert is_stored(name, "customers", "A ", {"name": "A"})
    assert not is_stored(name, "customers", "A", {"name": None})
    assert is_stored(name, "customers", None, {"name": ""})
    assert set(SAME) <= set(FORMS) | {"reference"}
