"""Marts with several rows per record: parts that come, change and go with their record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from psycopg.rows import dict_row

from pipedrive_pipeline.errors import AuditBreach
from pipedrive_pipeline.marts import MartsBuilt, RowCounts, build
from pipedrive_pipeline.marts.declared import CONTACTS, CUSTOMERS, DEAL_CONTACTS
from pipedrive_pipeline.marts.erasure import erase_rows
from pipedrive_pipeline.marts.sources import MartSource, RawColumns, mart_source
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.warehouse.sql_files import SqlFile
from pipedrive_pipeline_tests.marts.raw_tables import SYSTEM, RawTables, organization, person, user
from pipedrive_pipeline_tests.warehouse.databases import ACME

ACME_IN_PIPEDRIVE = Scope(ACME, SYSTEM)
# A label stands for a part of an organization, and an organization for a deal; persons with the
# number of a label are linked.
SELECT = """\
-- Parts.
select
    organizations.id as record_id,
    organizations.id || '/' || part.label as remote_id,
    organizations.id::text as deal_remote_id,
    part.label as contact_remote_id,
    organizations.name as role,
    organizations.update_time as changed_at,
    organizations.is_deleted as is_deleted
from organizations
cross join lateral jsonb_array_elements_text(organizations.label_ids) as part (label)
"""
PARTS = replace(
    mart_source(CUSTOMERS, SYSTEM),
    mart=DEAL_CONTACTS,
    select=SqlFile("deal_contacts", SELECT),
    outputs=(
        "record_id",
        "remote_id",
        "deal_remote_id",
        "contact_remote_id",
        "role",
        "changed_at",
        "is_deleted",
    ),
    defined_by=None,
    options={},
)
UNCHANGED = RowCounts(unchanged=3)


def built(raw: RawTables, *, source: MartSource = PARTS, **facts: Any) -> MartsBuilt:
    sources = (mart_source(CONTACTS, SYSTEM), source)
    return build(raw.warehouse, ACME_IN_PIPEDRIVE, sources=sources, **facts)


def counts(raw: RawTables, **facts: Any) -> RowCounts:
    return built(raw, **facts).counts["deal_contacts"]


def parts(raw: RawTables) -> dict[str, dict[str, Any]]:
    """Every part by its remote id, with the transaction that wrote it."""
    with raw.warehouse.transaction() as connection:
        query = "select *, xmin::text as written_by from crm.deal_contacts"
        rows = connection.cursor(row_factory=dict_row).execute(query).fetchall()
    return {row["remote_id"]: row for row in rows}


def state(raw: RawTables) -> dict[str, str | None]:
    """The reason of deletion by part; None for one that is there."""
    return {key: row["deletion_reason"] for key, row in sorted(parts(raw).items())}


@pytest.fixture
def loaded(raw: RawTables) -> RawTables:
    """Two records: one with the parts 7 and 8, one with the part 7."""
    raw.load(
        users=[user(1, "Anna")],
        persons=[person(7)],
        organizations=[organization(1, label_ids=[7, 8]), organization(2, label_ids=[7])],
    )
    assert counts(raw) == RowCounts(created=3)
    return raw


def test_each_part_is_a_row_with_the_links_of_its_record(loaded: RawTables) -> None:
    rows = parts(loaded)

    assert sorted(rows) == ["1/7", "1/8", "2/7"]
    assert {row["deal_remote_id"] for row in rows.values()} == {"1", "2"}
    assert rows["1/7"]["contact_id"] == rows["2/7"]["contact_id"] is not None
    assert (rows["1/8"]["contact_id"], rows["1/8"]["contact_remote_id"]) == (None, "8")


def test_a_build_without_changes_writes_nothing(loaded: RawTables) -> None:
    before = parts(loaded)

    assert counts(loaded) == RowCounts()
    assert counts(loaded, is_whole=True) == UNCHANGED
    assert built(loaded, is_whole=True).compared["deal_contacts"].is_equal
    assert parts(loaded) == before


def test_a_changed_record_replaces_its_parts_and_no_others(loaded: RawTables) -> None:
    before = parts(loaded)
    loaded.load(organizations=[organization(1, label_ids=[8, 9])])

    outcome = counts(loaded)

    assert outcome == RowCounts(created=1, unchanged=1, deleted=1)
    assert state(loaded) == {"1/7": "deleted", "1/8": None, "1/9": None, "2/7": None}
    after = parts(loaded)
    assert after["2/7"] == before["2/7"]
    assert after["1/8"] == before["1/8"]
    assert after["1/7"]["deleted_at"] is not None


def test_a_part_that_comes_back_is_the_same_row(loaded: RawTables) -> None:
    before = parts(loaded)["1/7"]
    for labels in ([8], [7, 8]):
        loaded.load(organizations=[organization(1, label_ids=labels)])
        counts(loaded)

    after = parts(loaded)["1/7"]
    assert after["id"] == before["id"]
    assert (after["deleted_at"], after["deletion_reason"]) == (None, None)


def test_a_record_without_parts_has_no_row_and_is_complete(loaded: RawTables) -> None:
    loaded.load(organizations=[organization(1, label_ids=[]), organization(3)])

    assert counts(loaded) == RowCounts(deleted=2)
    assert state(loaded) == {"1/7": "deleted", "1/8": "deleted", "2/7": None}
    assert counts(loaded, is_whole=True) == RowCounts(unchanged=1)


@pytest.mark.parametrize("reason", ["deleted", "merged", "invisible"])
def test_parts_are_gone_with_their_record_and_come_back_with_it(
    loaded: RawTables, reason: str
) -> None:
    """The part that the record had no longer keeps its own mark."""
    loaded.load(organizations=[organization(1, label_ids=[8])])
    counts(loaded)
    own_mark = parts(loaded)["1/7"]["deleted_at"]
    loaded.mark("organizations", 1, reason, merged_into=2 if reason == "merged" else None)

    assert counts(loaded) == RowCounts(deleted=1)
    assert counts(loaded) == RowCounts()
    assert state(loaded) == {"1/7": "deleted", "1/8": reason, "2/7": None}
    row = parts(loaded)
    assert row["1/8"]["merged_into_remote_id"] is None
    assert row["1/7"]["deleted_at"] == own_mark
    loaded.unmark("organizations", 1)
    assert counts(loaded, is_whole=True) == RowCounts(updated=1, unchanged=1)
    assert state(loaded) == {"1/7": "deleted", "1/8": None, "2/7": None}


def test_parts_of_a_record_that_the_source_calls_deleted_are_deleted(loaded: RawTables) -> None:
    loaded.load(organizations=[organization(2, label_ids=[7], is_deleted=True)])

    assert counts(loaded) == RowCounts(deleted=1)
    assert state(loaded)["2/7"] == "deleted"
    assert counts(loaded, is_whole=True) == UNCHANGED


def test_a_part_that_was_changed_by_hand_is_found_and_mended(loaded: RawTables) -> None:
    """One edited, one deleted, one marked, one that no record has."""
    with loaded.warehouse.transaction() as connection:
        for statement in (
            "update crm.deal_contacts set role = 'by hand' where remote_id = '1/7'",
            "delete from crm.deal_contacts where remote_id = '1/8'",
            (
                "update crm.deal_contacts set deleted_at = now(), deletion_reason = 'deleted'"
                " where remote_id = '2/7'"
            ),
            (
                "insert into crm.deal_contacts (tenant_id, system, remote_id, deal_remote_id)"
                " values ('acme', 'pipedrive', '2/99', '2')"
            ),
            (
                "insert into crm.deal_contacts (tenant_id, system, remote_id, deal_remote_id)"
                " values ('acme', 'pipedrive', '5/7', '5')"
            ),
        ):
            connection.execute(statement.encode())

    comparison = built(loaded, is_whole=True).compared["deal_contacts"]

    assert (comparison.missing, comparison.differing, comparison.extra) == (1, 3, 1)
    assert comparison.unhealed == 0
    assert state(loaded) == {
        "1/7": None,
        "1/8": None,
        "2/7": None,
        "2/99": "deleted",
        "5/7": "deleted",
    }
    assert parts(loaded)["1/7"]["role"] == "Firma 1"


def test_a_part_is_linked_once_the_other_record_arrives(loaded: RawTables) -> None:
    loaded.load(persons=[person(8)])

    outcome = counts(loaded)

    assert outcome == RowCounts(updated=1)
    assert parts(loaded)["1/8"]["contact_id"] is not None


def test_a_part_that_a_trigger_loses_is_a_breach_of_the_audit(loaded: RawTables) -> None:
    """As a row is that an app's trigger swallows."""
    with loaded.warehouse.transaction() as connection:
        connection.execute(
            "create function crm.swallow() returns trigger language plpgsql"
            " as $$ begin return null; end $$"
        )
        connection.execute(
            "create trigger swallow before insert on crm.deal_contacts"
            " for each row when (new.remote_id = '2/9') execute function crm.swallow()"
        )
    loaded.load(organizations=[organization(2, label_ids=[7, 9])])

    with pytest.raises(AuditBreach, match=r"deal_contacts_complete found 1 .*remote_id 2/9"):
        counts(loaded)


def test_another_raw_table_changes_the_rows_of_its_record(loaded: RawTables) -> None:
    """The header `Also changed by` names it, and its column with the record's key."""
    select = SELECT.replace(
        "organizations.name as role",
        "(select max(persons.name) from persons where persons.org_id = organizations.id"
        " and not exists (select from deletions where deletions.entity = 'persons'"
        " and deletions.id = persons.id::text)) as role",
    )
    source = replace(
        PARTS,
        select=SqlFile("deal_contacts", select),
        changed_by=(RawColumns("persons", ("org_id",)),),
    )
    counts(loaded, source=source)
    before = parts(loaded)
    loaded.load(persons=[person(20, name="Zoe", org_id=2), person(21)])

    outcome = counts(loaded, source=source)

    assert outcome == RowCounts(updated=1)
    assert parts(loaded)["2/7"]["role"] == "Zoe"
    assert parts(loaded)["1/7"] == before["1/7"]
    loaded.announce("mark")
    loaded.mark("persons", 20)
    assert counts(loaded, source=source) == RowCounts(updated=1)
    assert parts(loaded)["2/7"]["role"] is None


def test_erasing_a_record_erases_its_parts(loaded: RawTables) -> None:
    with loaded.warehouse.transaction(ACME) as connection:
        erased = erase_rows(connection, ACME_IN_PIPEDRIVE, PARTS, ["1"])

    assert erased == 2
    assert sorted(parts(loaded)) == ["2/7"]
