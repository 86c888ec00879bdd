"""Many records: other connections than the build's own check their values, and compare them."""

from __future__ import annotations

import pytest

from pipedrive_pipeline.errors import AuditBreach
from pipedrive_pipeline.marts import MartsBuilt, build, parallel_queries
from pipedrive_pipeline.marts.fields.value_comparison import ValueComparison, compare_values
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline_tests.marts.fields import custom, key_of, published
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization
from pipedrive_pipeline_tests.marts.test_audits import execute, meddle
from pipedrive_pipeline_tests.marts.test_value_comparison import hide
from pipedrive_pipeline_tests.warehouse.databases import ACME

RATE, STAFF = key_of("Rabatt"), key_of("Mitarbeiter")
NUMBERS = range(1, 8)


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two records are enough to be shared out."""
    monkeypatch.setattr(parallel_queries, "MANY_ROWS", 1)


@pytest.fixture
def loaded(raw: RawTables) -> RawTables:
    """Seven organizations with a number and a text; the third number is none."""
    raw.load(
        organization_fields=[custom("Rabatt", "double"), custom("Mitarbeiter")],
        organizations=[
            organization(
                number, custom_fields={RATE: "viel" if number == 3 else number, STAFF: "x"}
            )
            for number in NUMBERS
        ],
    )
    return raw


def listed(raw: RawTables) -> list[tuple[object, ...]]:
    with raw.warehouse.transaction() as connection:
        return connection.execute(
            "select record_id, field, value, reason from integration.rejected_values order by 1, 2"
        ).fetchall()


def rebuilt(raw: RawTables) -> MartsBuilt:
    """A build that checks all values."""
    execute(raw.warehouse, "update integration.mart_state set values_checked = null")
    return build(raw.warehouse, Scope(ACME, SYSTEM))


def test_the_parallel_check_lists_what_the_build_lists_itself(
    loaded: RawTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside_it = build(loaded.warehouse, Scope(ACME, SYSTEM))
    there = listed(loaded)
    monkeypatch.setattr(parallel_queries, "MANY_ROWS", 1_000)
    itself = rebuilt(loaded)

    assert there == [("3", RATE, '"viel"', "is no number")]
    assert listed(loaded) == there
    assert beside_it.values == itself.values
    assert (itself.values.seen, itself.values.rejected) == (2 * len(NUMBERS), 1)


def test_a_value_that_fits_by_now_leaves_the_list(loaded: RawTables) -> None:
    """The listing's own time is later than the build's: what it listed is not taken for old."""
    build(loaded.warehouse, Scope(ACME, SYSTEM))
    rebuilt(loaded)
    assert len(listed(loaded)) == 1

    loaded.load(organization_fields=[custom("Rabatt"), custom("Mitarbeiter")])
    build(loaded.warehouse, Scope(ACME, SYSTEM))

    assert listed(loaded) == []


def test_a_refused_build_ends_with_its_own_error_and_the_next_is_whole(loaded: RawTables) -> None:
    meddle(loaded.warehouse, "customers", "new.name := null;")
    with pytest.raises(AuditBreach):
        build(loaded.warehouse, Scope(ACME, SYSTEM))
    execute(loaded.warehouse, "drop trigger meddle on crm.customers")

    built = build(loaded.warehouse, Scope(ACME, SYSTEM))

    assert built.counts["customers"].created == len(NUMBERS)
    assert (built.values.seen, built.values.rejected) == (2 * len(NUMBERS), 1)


@pytest.mark.slow
def test_a_value_that_is_lost_in_either_half_is_found(loaded: RawTables) -> None:
    published(loaded)
    assert compare_values(loaded.warehouse, Scope(ACME, SYSTEM)) == ValueComparison(
        seen=2 * len(NUMBERS), lost=(), is_whole=True
    )

    hide(loaded, "mitarbeiter")

    result = compare_values(loaded.warehouse, Scope(ACME, SYSTEM))
    assert sorted(result.lost) == sorted(
        ("organizations", str(number), STAFF) for number in NUMBERS
    )
    assert result.seen == 2 * len(NUMBERS)


def test_a_first_build_makes_the_indexes_of_empty_marts_afterwards(loaded: RawTables) -> None:
    """Made at once they take a fraction of the work; where there are rows, they stay."""

    def indexes() -> dict[str, tuple[int, str]]:
        with loaded.warehouse.transaction() as connection:
            rows = connection.execute(
                "select indexname, format('%I.%I', schemaname, indexname)::regclass::oid, indexdef"
                " from pg_indexes where tablename in ('customers', 'contacts')"
            )
            return {name: (oid, definition) for name, oid, definition in rows}

    execute(loaded.warehouse, "delete from integration.tenants where slug <> 'acme'")
    before = indexes()
    build(loaded.warehouse, Scope(ACME, SYSTEM))
    after = indexes()
    build(loaded.warehouse, Scope(ACME, SYSTEM), is_whole=True)

    made_again = {name for name, (oid, _) in after.items() if before[name][0] != oid}
    assert {name: text for name, (_, text) in after.items()} == {
        name: text for name, (_, text) in before.items()
    }
    assert {"customers_api_search_idx", "customers_api_name_idx"} <= made_again
    assert {"customers_pkey", "contacts_api_search_idx"}.isdisjoint(made_again)
    assert indexes() == after
