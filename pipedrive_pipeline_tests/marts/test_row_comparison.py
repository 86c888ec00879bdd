"""Marts are right after any damage: all rows and links are compared with raw, and healed."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.rows import dict_row

from pipedrive_pipeline.marts import MartsBuilt, RowComparison, build, mapping
from pipedrive_pipeline.marts.row_comparison import GUARD_ROWS
from pipedrive_pipeline.marts.sources import mart_sources
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline_tests.marts.fields import custom, key_of
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization, person
from pipedrive_pipeline_tests.marts.test_audits import execute
from pipedrive_pipeline_tests.warehouse.databases import ACME

STAFF, NOTE = key_of("Mitarbeiter"), key_of("Notiz")
EQUAL = {source.name: RowComparison() for source in mart_sources("pipedrive")}
OURS = "tenant_id = 'acme' and pipedrive_id"
APP_ROW = "insert into crm.customers (tenant_id, name) values ('acme', 'from the app')"


@pytest.fixture
def built(raw: RawTables) -> RawTables:
    """Four customers, of which 4 was merged into 3, and five contacts; two fields mapped."""
    raw.load(
        organization_fields=[custom("Mitarbeiter"), custom("Notiz")],
        organizations=[
            organization(key, custom_fields={STAFF: f"{key} Leute", NOTE: f"n{key}"})
            for key in (1, 2, 3, 4)
        ],
        persons=[person(10 + key, org_id=key) for key in (1, 2, 3, 4)] + [person(15)],
    )
    raw.mark("organizations", 4, "merged", 3)
    build(raw.warehouse, Scope(ACME, SYSTEM))
    targets = {"organizations": {STAFF: "customer_number", NOTE: "attributes.note"}}
    mapping.save(raw.warehouse, Scope(ACME, SYSTEM), targets, who="a test")
    build(raw.warehouse, Scope(ACME, SYSTEM))
    return raw


def rows(warehouse: Warehouse, table: str) -> list[dict[str, Any]]:
    """All that the engine writes of the rows of acme, with the customer by its source's id."""
    with warehouse.transaction() as connection:
        query = (
            f"select * from crm.{table} where {OURS} is not null and deleted_at is null"
            f" or {OURS} <= 15 order by pipedrive_id"
        )
        records = connection.cursor(row_factory=dict_row).execute(query.encode()).fetchall()
        ids = dict(connection.execute("select id, pipedrive_id from crm.customers").fetchall())
    left_out = {"id", "created_at", "updated_at", "synced_at", "pipedrive_synced_at", "customer_id"}
    return [
        {name: value for name, value in row.items() if name not in left_out}
        | {"customer": ids.get(row.get("customer_id"))}
        for row in records
    ]


def whole(raw: RawTables, **how: Any) -> MartsBuilt:
    """What a sweep, a full read and `remap` do."""
    return build(raw.warehouse, Scope(ACME, SYSTEM), is_whole=True, **how)


DAMAGE: list[
    tuple[str, dict[str, int], dict[str, int]]
] = [  # statement, what is found of customers and of contacts
    (f"delete from crm.contacts where {OURS} in (11, 12)", {}, {"missing": 2}),
    (
        f"delete from crm.customers where {OURS} = 1",
        {"missing": 1},
        {"differing": 1, "links": 1},
    ),
    (f"update crm.customers set name = 'x' where {OURS} = 2", {"differing": 1}, {}),
    (f"update crm.customers set attributes = '{{}}' where {OURS} = 2", {"differing": 1}, {}),
    (f"update crm.customers set customer_number = '7' where {OURS} = 2", {"differing": 1}, {}),
    (f"update crm.contacts set deleted_at = now() where {OURS} = 15", {}, {"differing": 1}),
    (f"update crm.customers set deleted_at = null where {OURS} = 4", {"differing": 1}, {}),
    (f"update crm.contacts set emails = '[1]' where {OURS} = 15", {}, {"differing": 1}),
    (
        f"update crm.contacts set customer_id = null where {OURS} in (13, 14)",
        {},
        {"differing": 2, "links": 2},
    ),
    (
        """
        update crm.contacts
        set customer_id = customers.id
        from crm.customers
        where contacts.pipedrive_id in (11, 14, 15)
            and customers.pipedrive_id = 2
        """,
        {},
        {"differing": 3, "links": 3},
    ),
    (
        f"update crm.customers set remote_id = '99' where {OURS} = 1",
        {"missing": 1, "extra": 1},
        {"differing": 1, "links": 1},
    ),
    (
        """
        insert into crm.contacts (tenant_id, system, remote_id) values ('acme', 'pipedrive', '77')
        """,
        {},
        {"extra": 1},
    ),
]


@pytest.mark.slow
def test_damage_is_counted_and_healed(built: RawTables) -> None:
    """An app, a person or an older dump of `crm` did it; nothing at the source changed since."""
    before = rows(built.warehouse, "customers"), rows(built.warehouse, "contacts")
    for damage, customers, contacts in DAMAGE:
        execute(built.warehouse, damage)

        compared = whole(built).compared

        assert compared["customers"] == RowComparison(**customers), damage
        assert compared["contacts"] == RowComparison(**contacts), damage
        after = rows(built.warehouse, "customers"), rows(built.warehouse, "contacts")
        assert after == before, damage
    assert whole(built).compared == EQUAL


@pytest.mark.slow
def test_marts_that_were_emptied_are_made_again(built: RawTables) -> None:
    """Nothing was pending, so every way to rebuild said "up to date"."""
    before = rows(built.warehouse, "customers"), rows(built.warehouse, "contacts")
    execute(built.warehouse, "delete from crm.contacts", "delete from crm.customers")

    again = whole(built)

    assert (again.counts["customers"].created, again.counts["contacts"].created) == (4, 5)
    assert again.compared == EQUAL | {
        "customers": RowComparison(missing=4),
        "contacts": RowComparison(missing=5),
    }
    assert (rows(built.warehouse, "customers"), rows(built.warehouse, "contacts")) == before


@pytest.mark.slow
def test_a_rebuild_that_was_due_is_done_once(built: RawTables) -> None:
    """A comparison's notes must not look like a read's request for another rebuild."""
    execute(built.warehouse, "update integration.mart_state set is_rebuild_due = true")

    whole(built)

    assert not build(built.warehouse, Scope(ACME, SYSTEM)).is_whole


@pytest.mark.slow
def test_a_change_of_the_source_is_no_damage(built: RawTables) -> None:
    """Loads, deletions, merges and new links that no build has read yet explain a difference."""
    load = built.load(
        organizations=[organization(1, name="renamed"), organization(5)],
        persons=[person(11, org_id=5)],
    )
    built.mark("organizations", 2, "merged", 5)
    execute(built.warehouse, f"update raw_pipedrive_acme.deletions set _dlt_load_id = '{load}'")

    again = whole(built)

    assert again.compared == EQUAL
    assert (again.counts["customers"].created, again.counts["contacts"].updated) == (1, 2)


@pytest.mark.slow
def test_rows_and_columns_of_the_app_are_never_touched(built: RawTables) -> None:
    execute(
        built.warehouse,
        APP_ROW,
        "alter table crm.customers add column rating text",
        f"update crm.customers set rating = 'A', phone = '1', attributes = attributes || "
        f"'{{\"of_the_app\": 1}}' where {OURS} = 1",
    )

    assert whole(built).compared == EQUAL
    with built.warehouse.transaction() as connection:
        stored = connection.execute(
            "select rating, phone, attributes from crm.customers where pipedrive_id = 1"
        ).fetchone()
        app_rows = connection.execute(
            "select name, deleted_at from crm.customers where pipedrive_id is null"
        ).fetchall()
    assert stored == ("A", "1", {"note": "n1", "of_the_app": 1})
    assert app_rows == [("from the app", None)]


@pytest.mark.slow
def test_a_row_that_raw_does_not_have_is_marked_until_it_arrives(built: RawTables) -> None:
    """The id is the source's, so the row is ours; the app's own columns stay with it."""
    execute(
        built.warehouse,
        "insert into crm.customers (tenant_id, system, remote_id, phone)"
        " values ('acme', 'pipedrive', '50', '1')",
    )

    assert whole(built).compared["customers"] == RowComparison(extra=1)
    assert marks(built.warehouse) == [(50, "deleted")]
    built.load(organizations=[organization(50)])
    build(built.warehouse, Scope(ACME, SYSTEM))
    assert marks(built.warehouse) == []


def marks(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    with warehouse.transaction() as connection:
        return connection.execute(
            "select pipedrive_id, deletion_reason from crm.customers"
            " where deleted_at is not null and pipedrive_id >= 50 order by 1"
        ).fetchall()


@pytest.mark.slow
def test_too_many_rows_that_raw_does_not_have_are_left_until_a_person_confirms(
    built: RawTables,
) -> None:
    """A raw table that was emptied by accident must not empty the analysts' views."""
    number = GUARD_ROWS + 1
    execute(
        built.warehouse,
        "insert into crm.customers (tenant_id, system, remote_id)"
        f" select 'acme', 'pipedrive', n from generate_series(100, {99 + number}) n",
    )

    compared = whole(built).compared["customers"]
    assert (compared.extra, compared.unhealed, marks(built.warehouse)) == (number, number, [])
    confirmed = whole(built, is_confirmed=True).compared["customers"]
    assert (confirmed.extra, confirmed.unhealed) == (number, 0)
    assert len(marks(built.warehouse)) == number


@pytest.mark.slow
def test_a_raw_table_that_is_gone_takes_no_rows_with_it(built: RawTables) -> None:
    """A contact is no less a contact because somebody dropped a table."""
    execute(built.warehouse, "drop table raw_pipedrive_acme.persons")

    compared = whole(built, is_confirmed=True).compared["contacts"]

    assert (compared.extra, compared.unhealed) == (5, 5)
    assert [row["deleted_at"] for row in rows(built.warehouse, "contacts")] == [None] * 5


@pytest.mark.slow
def test_rows_that_a_trigger_changes_again_are_counted_as_unhealed(built: RawTables) -> None:
    """Written and still different: only its owner can say which of the two is right."""
    execute(
        built.warehouse,
        "create function public.loud() returns trigger language plpgsql as"
        " $$ begin new.name := upper(new.name); return new; end $$",
        "create trigger loud before insert or update on crm.customers"
        " for each row execute function public.loud()",
        f"update crm.customers set name = name where {OURS} = 1",
    )

    compared = whole(built).compared["customers"]

    assert (compared.differing, compared.unhealed) == (1, 1)
    assert compared.healed == 0


STAMP = """
create function public.stamp() returns trigger language plpgsql as $$
begin
    new.updated_at := '2001-01-01';
    new.created_at := '2001-01-01';
    return new;
end
$$;
create trigger stamp before insert or update on crm.customers
    for each row execute function public.stamp();
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "before_it_arrives",
    [
        STAMP,
        """
        insert into crm.customers (tenant_id, system, remote_id) values ('acme', 'pipedrive', '7')
        """,
    ],
)
def test_a_contact_finds_the_customer_that_arrives_later(
    built: RawTables, before_it_arrives: str
) -> None:
    """Stamps said whether a customer was new: a trigger wrote them, or the app had made the row."""
    built.load(persons=[person(17, org_id=7)])
    build(built.warehouse, Scope(ACME, SYSTEM))
    execute(built.warehouse, before_it_arrives)

    built.load(organizations=[organization(7)])
    build(built.warehouse, Scope(ACME, SYSTEM))

    assert customer_of(built.warehouse, 17) == 7


@pytest.mark.slow
@pytest.mark.parametrize("meddling", ["select 1", STAMP])
def test_a_contact_follows_its_customer(built: RawTables, meddling: str) -> None:
    """Merged: in the next build. Made again by the app: when all links are compared."""
    execute(built.warehouse, meddling)
    load = built.load(organizations=[organization(3, name="survivor")])
    built.mark("organizations", 2, "merged", 3)
    execute(built.warehouse, f"update raw_pipedrive_acme.deletions set _dlt_load_id = '{load}'")
    build(built.warehouse, Scope(ACME, SYSTEM))
    assert customer_of(built.warehouse, 12) == 3

    execute(
        built.warehouse,
        f"delete from crm.customers where {OURS} = 1",
        "insert into crm.customers (tenant_id, system, remote_id)"
        " values ('acme', 'pipedrive', '1')",
    )
    whole(built)

    assert customer_of(built.warehouse, 11) == 1


def customer_of(warehouse: Warehouse, contact: int) -> int | None:
    with warehouse.transaction() as connection:
        row = connection.execute(
            """
            select customers.pipedrive_id
            from crm.contacts
            left join crm.customers on customers.id = contacts.customer_id
            where contacts.pipedrive_id = %s
            """,
            (contact,),
        ).fetchone()
    assert row is not None
    key: int | None = row[0]
    return key


def listed(raw: RawTables) -> list[tuple[Any, ...]]:
    with raw.warehouse.transaction() as connection:
        return connection.execute(
            "select record_id, field from integration.rejected_values order by 1, 2"
        ).fetchall()


@pytest.mark.slow
def test_a_retyped_field_is_checked_and_no_other(built: RawTables) -> None:
    """Its old values may not fit, and must be listed at once; the other fields wait for verify."""
    rate = key_of("Rabatt")
    built.load(
        organization_fields=[custom("Rabatt")],
        organizations=[organization(6, custom_fields={rate: "viel", STAFF: "6"})],
    )
    build(built.warehouse, Scope(ACME, SYSTEM))

    built.load(organization_fields=[custom("Rabatt", "double")])
    retyped = build(built.warehouse, Scope(ACME, SYSTEM))

    assert (retyped.values.seen, retyped.values.rejected) == (1, 1)
    assert listed(built) == [("6", rate)]
    built.load(organization_fields=[custom("Rabatt")])
    build(built.warehouse, Scope(ACME, SYSTEM))
    assert listed(built) == []


@pytest.mark.slow
def test_verifying_checks_the_values_of_all_records(built: RawTables) -> None:
    """A list of rejected values that lost an entry, or has one too many, is made right."""
    rate = key_of("Rabatt")
    built.load(
        organization_fields=[custom("Rabatt", "double")],
        organizations=[organization(6, custom_fields={rate: "viel"})],
    )
    build(built.warehouse, Scope(ACME, SYSTEM))
    execute(built.warehouse, "update integration.rejected_values set record_id = '1'")

    assert whole(built).values.seen == 0
    verified = build(built.warehouse, Scope(ACME, SYSTEM), is_verifying=True)

    assert (verified.values.seen, verified.values.rejected) == (9, 1)
    assert listed(built) == [("6", rate)]
