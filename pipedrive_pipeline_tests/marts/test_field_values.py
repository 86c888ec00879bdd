"""What a person sees of a field before mapping it: how often it is filled, and with what."""

from __future__ import annotations

from typing import Any

import pytest

from pipedrive_pipeline.errors import BadInput
from pipedrive_pipeline.marts import build
from pipedrive_pipeline.marts.mapping import FieldValues, field_values
from pipedrive_pipeline.marts.mapping.field_values import RECORDS
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.marts.fields import custom, key_of
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization
from pipedrive_pipeline_tests.warehouse.databases import ACME

SCOPE = Scope(ACME, SYSTEM)
NUMBER, BRANCH, LABELS, LIMIT = (key_of(name) for name in ("Nr", "Branche", "Marken", "Limit"))


@pytest.fixture
def synced(raw: RawTables) -> RawTables:
    """Four customers with values of several kinds."""
    values: list[dict[str, Any]] = [
        {NUMBER: "K-1", BRANCH: 2, LABELS: [1, 2], LIMIT: {"value": 5, "currency": "EUR"}},
        {NUMBER: "K-2", BRANCH: 1, LIMIT: {"value": 7.5, "currency": "EUR"}},
        {NUMBER: "  ", BRANCH: None, LABELS: []},
        {NUMBER: "K-1"},
    ]
    raw.load(
        organization_fields=[
            custom("Nr"),
            custom("Branche", "enum", {1: "Handel", 2: "Bau"}),
            custom("Marken", "set", {1: "A", 2: "B"}),
            custom("Limit", "monetary"),
            {"field_code": "website", "field_name": "Website", "field_type": "varchar"},
        ],
        organizations=[
            organization(number, website="https://x.example", custom_fields=fields)
            for number, fields in enumerate(values, 1)
        ],
    )
    build(raw.warehouse, SCOPE)
    return raw


def values_of(raw: RawTables) -> dict[str, FieldValues]:
    return {row.field_key: row for row in field_values(raw.warehouse, SCOPE, "organizations")}


def test_blank_values_do_not_count_and_samples_differ(synced: RawTables) -> None:
    """A column of blanks looked full, and three equal samples say nothing."""
    number = values_of(synced)[NUMBER]

    assert (number.records, number.filled) == (4, 3)
    assert sorted(number.samples[""]) == ["K-1", "K-2"]


def test_samples_read_as_people_know_the_values(synced: RawTables) -> None:
    """Labels instead of ids, and each part of a value under its own name."""
    values = values_of(synced)

    assert sorted(values[BRANCH].samples[""]) == ["Bau", "Handel"]
    assert sorted(values[BRANCH].samples["id"]) == ["1", "2"]
    assert values[LABELS].samples == {"": ("A, B",), "ids": ("1, 2",)}
    assert sorted(values[LIMIT].samples["amount"]) == ["5", "7.5"]
    assert values[LIMIT].samples["currency"] == ("EUR",)
    assert values["website"].samples[""] == ("https://x.example",)


def test_only_the_newest_thousand_records_are_read(synced: RawTables) -> None:
    """The page opens as fast for a million records as for a thousand."""
    with synced.warehouse.transaction() as connection:
        connection.execute(
            "insert into raw_pipedrive_acme.organizations (id, name, custom_fields, _dlt_load_id)"
            " select number, 'later', jsonb_build_object(%s::text, repeat('x', 300)), '0000000002'"
            " from generate_series(100, 2200) as number",
            (NUMBER,),
        )

    number = values_of(synced)[NUMBER]

    assert (number.records, number.filled) == (RECORDS, RECORDS)
    assert [len(sample) for sample in number.samples[""]] == [60]


def test_a_tenant_that_never_synced_has_no_values(raw: RawTables) -> None:
    assert field_values(raw.warehouse, SCOPE, "organizations") == []


@pytest.mark.parametrize("entity", ["users", "nothing", "organization_fields"])
def test_only_kinds_with_fields_to_map_are_looked_at(raw: RawTables, entity: str) -> None:
    with pytest.raises(BadInput):
        field_values(raw.warehouse, SCOPE, entity)
